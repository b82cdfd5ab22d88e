# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes that have ended: thrown away, brought back, given other labels, or repaired."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from diwa_msgs.msg import EpisodeEvent

from diwa.data.bag_folder import BagFolder, label_bag
from diwa.data.contract import Contract
from diwa.data.episode import EpisodeRecord, Outcome, read_episode
from diwa.data.recovery import recover_bag
from diwa.errors import ConfigError


class Happening(NamedTuple):
    """Something to be announced; `kind` is a constant of EpisodeEvent."""

    kind: int
    record: EpisodeRecord
    reason: str = ""


@dataclass(slots=True)
class Tally:
    """Numbers of episodes since the node was configured."""

    kept: int = 0
    flagged: int = 0
    discarded: int = 0
    recovered: int = 0


class FinishedEpisodes:
    """What a recorder does with bags that are complete.

    Asked for the same thing again, as by a client that missed the answer, it does nothing.

    Args:
        folder: of the bags.
        contract: of the recorder, for broken-off bags that do not say theirs.
        announce: is told what happens.

    Attributes:
        records: of the episodes that this node recorded or repaired and that are kept, by name.
        tally: how many there were.
    """

    def __init__(
        self, folder: BagFolder, contract: Contract, announce: Callable[[Happening], None]
    ) -> None:
        self.records: dict[str, EpisodeRecord] = {}
        self.tally = Tally()
        self._folder = folder
        self._contract = contract
        self._announce = announce
        self._last_ended = self._last_discarded = ""

    def recover(self) -> list[str]:
        """Repair what an earlier run left unfinished; returns what could not be, in words."""
        failures = []
        for bag in self._folder.broken_off():
            try:
                record = recover_bag(bag, self._contract)
                self.tally.recovered += 1
                self.records[record.id] = record
                self._announce(Happening(EpisodeEvent.RECOVERED, record, record.reason))
                if not any(topic.received for topic in record.topics):
                    self._move_away(record.id, "nothing was recorded before it was broken off")
            except (ConfigError, OSError) as error:
                failures.append(f"{bag.name} cannot be repaired: {error}")
        return failures

    def add(self, record: EpisodeRecord) -> None:
        """Take an episode that has just been recorded."""
        self._last_ended = record.id
        self.records[record.id] = record
        self.tally.kept += 1
        self.tally.flagged += bool(record.problems)
        self._announce(Happening(EpisodeEvent.ENDED, record, record.reason))

    def add_discarded(self, record: EpisodeRecord) -> None:
        """Take an episode that has just been recorded and is to be thrown away."""
        self._last_ended = record.id
        self._move_away(record.id, record.reason)

    def discard(self, episode_id: str, reason: str) -> EpisodeRecord:
        """Throw a finished episode away; without an id the one that ended last."""
        episode_id = episode_id or self._last_ended or self._folder.kept().name
        gone = self._read_discarded(episode_id)
        return gone if gone is not None else self._move_away(episode_id, reason)

    def restore(self, episode_id: str) -> EpisodeRecord:
        """Bring an episode back; without an id the one that was discarded last."""
        episode_id = episode_id or self._last_discarded or self._folder.thrown_away().name
        self._last_discarded = episode_id
        if self._read_discarded(episode_id) is None:
            return read_episode(self._folder.kept(episode_id))
        record = self._folder.restore(episode_id)
        self.records[record.id] = record
        self.tally.discarded = max(self.tally.discarded - 1, 0)
        self._announce(Happening(EpisodeEvent.RESTORED, record))
        return record

    def label(
        self, episode_id: str, task: str | None, outcome: Outcome | None, note: str | None
    ) -> EpisodeRecord:
        """Give a finished episode other labels, where not None; without an id the last one."""
        bag = self._folder.kept(episode_id or self._last_ended)
        record = label_bag(bag, task=task, outcome=outcome, note=note)
        if record.id in self.records:
            self.records[record.id] = record
        self._announce(Happening(EpisodeEvent.LABELLED, record))
        return record

    def _read_discarded(self, episode_id: str) -> EpisodeRecord | None:
        """The record of a discarded episode; None if there is none of that name."""
        try:
            return read_episode(self._folder.thrown_away(episode_id))
        except ConfigError:
            return None

    def _move_away(self, episode_id: str, reason: str) -> EpisodeRecord:
        record = self._folder.discard(episode_id, reason)
        self.records.pop(record.id, None)
        self._last_discarded = record.id
        self.tally.discarded += 1
        self._announce(Happening(EpisodeEvent.DISCARDED, record, reason))
        return record
