# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The open episode of a recorder, whoever starts and ends it: a service, an action, a button.

One episode is open at a time. Everything here is called in the executor's thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NamedTuple

from diwa_msgs.msg import EpisodeEvent

from diwa.data.bag_folder import BagFolder
from diwa.data.contract import Contract
from diwa.data.episode import EpisodeRecord, Outcome
from diwa.errors import ConfigError
from diwa_ros.arrivals import Arrival
from diwa_ros.finished_episodes import FinishedEpisodes, Happening
from diwa_ros.receive_clock import ReceiveClock
from diwa_ros.recording import Recording

Cause = Literal["asked", "silent", "stopped", "disk"]


class Ending(NamedTuple):
    """How an episode ended."""

    cause: Cause
    record: EpisodeRecord | None  # None: it was deleted, or is left for recovery
    message: str = ""
    discarded: bool = False


class RecordingSession:
    """The episodes of one run of the recorder.

    Args:
        folder: of the bags.
        prefix: of their names.
        contract: what is recorded.
        clock: of arrivals.
        min_free_bytes: that must stay free on the disk.
        announce: is told what happens.

    Attributes:
        folder: of the bags.
        contract: what is recorded.
        finished: the episodes that have ended.
        recording: the open episode.
        latest: the open or the latest one.
        endings: how every episode ended, by name.
        error: what went wrong last; empty once an episode was begun or kept after it.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        contract: Contract,
        clock: ReceiveClock,
        min_free_bytes: int,
        announce: Callable[[Happening], None],
    ) -> None:
        self.folder = BagFolder(folder)
        self.finished = FinishedEpisodes(self.folder, contract, announce)
        self.recording: Recording | None = None
        self.latest: Recording | None = None
        self.endings: dict[str, Ending] = {}
        self.error = ""
        self._prefix = prefix
        self.contract = contract
        self._clock = clock
        self._min_free_bytes = min_free_bytes
        self._announce = announce
        self._next_id()  # says it now if the prefix cannot be used

    def free_bytes(self) -> int:
        """Free space on the disk of the bags; none where it is gone."""
        path = self.folder.path.absolute()
        while not path.is_dir() and path != path.parent:
            path = path.parent
        try:
            return shutil.disk_usage(path).free
        except OSError:
            return 0

    def begin(
        self, task: str, note: str, start_ns: int = 0, remembered: Iterable[Arrival] = ()
    ) -> Recording:
        """Open a bag.

        Args:
            task: skill of a demonstration; empty for play.
            note: free text.
            start_ns: first header stamp to keep; 0: whatever comes.
            remembered: messages that came already.

        Raises:
            ConfigError: an episode is open, or the disk is nearly full.
            OSError: the bag cannot be made.
        """
        if self.recording is not None:
            raise ConfigError(f"{self.recording.opening.id} is open: end it first")
        full = self._disk_full()
        if full:
            raise ConfigError(full, hint="free some space, or set min_free_space_gb lower")
        self._clock.follow()
        opening = EpisodeRecord(
            id=self._next_id(),
            kind="demo" if task else "play",
            task=task,
            note=note,
            contract=self.contract,
        )
        recording = Recording(self.folder.path, opening, self._clock.now_ns(), start_ns)
        self.recording = self.latest = recording
        self.error = ""
        self._announce(Happening(EpisodeEvent.STARTED, opening))
        for arrival in remembered:
            self.write(arrival)
        return recording

    def write(self, arrival: Arrival) -> None:
        """Record a message in the open episode, if there is one."""
        if self.recording is not None:
            try:
                self.recording.write(arrival)
            except OSError as error:
                self._end_for_the_disk(f"cannot write {self.recording.opening.id}: {error}")

    def watch(self) -> None:
        """Look at the disk and at the clock; to be called twice a second."""
        jump_ns = self._clock.jump_ns()
        recording = self.recording
        if recording is None:
            return
        if jump_ns:
            recording.clock_was_set(jump_ns)
        try:
            recording.check()
            problem = self._disk_full()
        except OSError as error:
            problem = f"cannot write {recording.opening.id}: {error}"
        if problem:
            self._end_for_the_disk(problem)

    def keep(
        self, task: str, outcome: Outcome, reason: str, note: str = "", cause: Cause = "asked"
    ) -> EpisodeRecord | None:
        """End the open episode; None when its bag cannot be finished."""
        record = self._finish(task, outcome, reason, note)
        if record is not None:
            self.endings[record.id] = Ending(cause, record, reason)
            self.finished.add(record)
        return record

    def throw_away(
        self, task: str, outcome: Outcome, reason: str, note: str = ""
    ) -> EpisodeRecord | None:
        """End the open episode and move it to the discarded ones, with its labels."""
        record = self._finish(task, outcome, reason, note)
        if record is not None:
            self.endings[record.id] = Ending("asked", record, reason, discarded=True)
            self.finished.add_discarded(record)
        return record

    def drop(self, reason: str) -> None:
        """End the open episode and delete it: topics are missing in it from its first moment."""
        recording, self.recording = self.recording, None
        assert recording is not None, "no episode is open"
        self.error = reason
        try:
            recording.discard()
        except OSError as error:
            self.error = f"cannot delete {recording.opening.id}: {error}"
        self.endings[recording.opening.id] = Ending("silent", None, self.error, discarded=True)
        self._announce(Happening(EpisodeEvent.DISCARDED, recording.opening, reason))

    def _next_id(self) -> str:
        return self.folder.next_id(self._prefix, datetime.now(timezone.utc))

    def _disk_full(self) -> str:
        """What to say when too little is free."""
        free = self.free_bytes()
        if free >= self._min_free_bytes:
            return ""
        least = self._min_free_bytes / 1e9
        return f"the disk is nearly full: {free / 1e9:.2f} GB are free, {least:.2f} must stay so"

    def _end_for_the_disk(self, problem: str) -> None:
        self.error = problem
        self.keep("", "unknown", problem, cause="disk")

    def _finish(self, task: str, outcome: Outcome, reason: str, note: str) -> EpisodeRecord | None:
        """Close the open bag; None when that fails, and the bag is left for the next start."""
        recording, self.recording = self.recording, None
        assert recording is not None, "no episode is open"
        try:
            return recording.finish(task, outcome, reason, note, self._clock.now_ns())
        except OSError as error:
            name = recording.opening.id
            self.error = f"{name} is unfinished ({error}): the next start repairs it"
            self.endings[name] = Ending("disk", None, self.error)
            self._announce(Happening(EpisodeEvent.ENDED, recording.opening, self.error))
            return None
