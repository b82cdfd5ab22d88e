# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Facts of one recorded episode, kept as `episode.json` in its bag folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic

from diwa.config import Config, parse_config
from diwa.data.cadence import TopicRecord
from diwa.data.contract import Contract
from diwa.errors import ConfigError
from diwa.files import read_json, write_json

FILE_NAME = "episode.json"
UNFINISHED = "unfinished.json"  # in place of it, while the bag is being recorded
STOPPED = "the recorder was stopped"  # reason of an episode that was cut by its recorder's end
DISCARDED = "discarded"  # folder beside the bags for those that were thrown away

# Names files, so nothing that a file system or a shell would read otherwise.
EpisodeId = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Kind = Literal["play", "demo"]
Outcome = Literal["unknown", "success", "failure"]


class Edit(Config):
    """One change to a finished episode, and its labels before that change."""

    at: str  # UTC, ISO 8601
    what: Literal["label", "discard", "restore"]
    reason: str = ""
    kind: Kind
    task: str = ""
    outcome: Outcome = "unknown"
    note: str = ""


class EpisodeRecord(Config):
    """What was recorded, under which contract, how it arrived, and how it ended."""

    id: EpisodeId
    kind: Kind
    task: str = ""  # skill of a demonstration; empty for play
    outcome: Outcome = "unknown"
    reason: str = ""  # why it ended as it did
    note: str = ""
    contract: Contract
    started_ns: int = 0  # header time of the first and last message [ns]
    ended_ns: int = 0
    recovered: bool = False  # the recorder did not live to close the bag; its end is missing
    problems: tuple[str, ...] = ()  # what was outside the contract's tolerance
    topics: tuple[TopicRecord, ...] = ()  # how each of the contract's topics arrived
    history: tuple[Edit, ...] = ()  # changes since it was recorded, oldest first

    @property
    def duration_s(self) -> float:
        """Length of the episode [s]."""
        return (self.ended_ns - self.started_ns) / 1e9


def write_episode(bag: Path, record: EpisodeRecord) -> None:
    """Write `record` into the bag folder in one step."""
    write_json(bag / FILE_NAME, record.model_dump(mode="json"))


def read_episode(bag: Path) -> EpisodeRecord:
    """Read the facts of a bag folder.

    Raises:
        ConfigError: the folder is no recorded episode, or its record is damaged.
    """
    path = bag / FILE_NAME
    if not path.is_file():
        raise ConfigError(
            f"{bag}: not a recorded episode",
            expected=f"a bag folder with {FILE_NAME}",
            hint="give folders that the play recorder wrote",
        )
    return parse_config(EpisodeRecord, read_json(path), str(path))


def read_unfinished(bag: Path) -> EpisodeRecord:
    """Read what was known of a bag when its recording began."""
    path = bag / UNFINISHED
    return parse_config(EpisodeRecord, read_json(path), str(path))


def find_bags(folder: Path) -> list[Path]:
    """Bag folders of finished episodes in `folder` (itself or below), sorted by path.

    Those that were thrown away are left out, unless `folder` is itself one of them or their folder.
    """
    if (folder / FILE_NAME).is_file():
        return [folder]
    found = []
    for path in folder.rglob(FILE_NAME):
        above = path.relative_to(folder).parts[:-2]  # folders between `folder` and the bag
        if not any(part == DISCARDED or part.startswith(".") for part in above):
            found.append(path.parent)
    return sorted(found)
