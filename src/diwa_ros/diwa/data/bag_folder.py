# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of a recorder's bags: names, labels, what is thrown away and what is brought back.

Nothing here changes a bag itself: labels are edits of `episode.json` that keep what was there
before, and a bag that is thrown away moves to `discarded/`, from where it can come back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from diwa.config import parse_config
from diwa.data.bag_lock import is_locked
from diwa.data.episode import (
    DISCARDED,
    FILE_NAME,
    UNFINISHED,
    Edit,
    EpisodeRecord,
    Outcome,
    read_episode,
    write_episode,
)
from diwa.errors import ConfigError
from diwa.files import fsync_path

NAME = re.compile(r"^(?P<prefix>.+)_(?P<number>\d{4,})(_(?P<time>\d{8}T\d{6}Z))?$")
BEGINNING_S = 10.0  # longer than it takes to open a bag
PREFIX = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")


class BagFolder:
    """Bags side by side in `path`, those that were thrown away in `path/discarded`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def next_id(self, prefix: str, now: datetime) -> str:
        """`<prefix>_<number>_<UTC time>`, counting on from every bag here, thrown away or not.

        Raises:
            ConfigError: `prefix` cannot be part of a file's name.
        """
        if not PREFIX.match(prefix):
            raise ConfigError(
                f"prefix {prefix!r} of the episodes' names",
                expected="letters, digits, _ . and - only",
            )
        names = [path.name for path in (*_folders(self.path), *_folders(self.path / DISCARDED))]
        matches = [match for match in map(NAME.match, names) if match and match["prefix"] == prefix]
        number = max((int(match["number"]) for match in matches), default=-1) + 1
        return f"{prefix}_{number:04d}_{now.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}"

    def broken_off(self) -> list[Path]:
        """Bags that were begun and not finished, and that nobody is writing."""
        return [
            path
            for path in _folders(self.path)
            if not (path / FILE_NAME).is_file() and _is_begun(path) and not is_locked(path)
        ]

    def kept(self, episode_id: str = "") -> Path:
        """The bag of a finished episode; the newest one without an id.

        Raises:
            ConfigError: there is none.
        """
        return self._find(self.path, episode_id, _started)

    def thrown_away(self, episode_id: str = "") -> Path:
        """The bag of a discarded episode; the one discarded last without an id."""
        return self._find(self.path / DISCARDED, episode_id, _changed)

    def discard(self, episode_id: str, reason: str = "") -> EpisodeRecord:
        """Throw a finished episode away."""
        bag = self.kept(episode_id)
        return self._move(bag, self.path / DISCARDED, "discard", reason)

    def restore(self, episode_id: str) -> EpisodeRecord:
        """Bring an episode back."""
        return self._move(self.thrown_away(episode_id), self.path, "restore", "")

    def _find(
        self, folder: Path, episode_id: str, age: Callable[[Path], tuple[int | str, ...]]
    ) -> Path:
        if episode_id and not PREFIX.match(episode_id):
            raise ConfigError(f"episode {episode_id!r}", expected="the name of a bag's folder")
        bags = [path for path in _folders(folder) if (path / FILE_NAME).is_file()]
        if episode_id:
            bags = [path for path in bags if path.name == episode_id]
        if not bags:
            raise ConfigError(f"{folder}: no episode {episode_id}".rstrip(), expected="a bag there")
        return max(bags, key=age)

    def _move(
        self, bag: Path, folder: Path, what: Literal["discard", "restore"], reason: str
    ) -> EpisodeRecord:
        record = _edited(read_episode(bag), what, reason, {})
        target = folder / bag.name
        if target.exists():
            raise ConfigError(f"{target}: exists already", hint="move it somewhere else")
        folder.mkdir(exist_ok=True)
        write_episode(bag, record)
        bag.rename(target)
        fsync_path(folder)
        fsync_path(bag.parent)
        return record


def label_bag(
    bag: Path,
    *,
    task: str | None = None,
    outcome: Outcome | None = None,
    note: str | None = None,
    reason: str = "",
) -> EpisodeRecord:
    """Give a finished episode other labels; None leaves one as it is.

    The labels before are kept in the history. Without a change nothing is written.
    """
    record = read_episode(bag)
    wanted = {"task": task, "outcome": outcome, "note": note}
    changes = {k: v for k, v in wanted.items() if v is not None and v != getattr(record, k)}
    if not changes:
        return record
    if "task" in changes:
        changes["kind"] = "demo" if changes["task"] else "play"
    changed = _edited(record, "label", reason, changes)
    write_episode(bag, changed)
    return changed


def undo_label(bag: Path) -> EpisodeRecord:
    """Take the last change of labels back; that is again a change."""
    record = read_episode(bag)
    edits = [edit for edit in record.history if edit.what == "label"]
    if not edits:
        raise ConfigError(f"{bag}: nothing to undo", got="labels as they were recorded")
    before = {name: getattr(edits[-1], name) for name in ("kind", "task", "outcome", "note")}
    changed = _edited(record, "label", "undone", before)
    write_episode(bag, changed)
    return changed


def _edited(
    record: EpisodeRecord,
    what: Literal["label", "discard", "restore"],
    reason: str,
    changes: dict[str, Any],
) -> EpisodeRecord:
    edit = Edit(
        at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        what=what,
        reason=reason,
        kind=record.kind,
        task=record.task,
        outcome=record.outcome,
        note=record.note,
    )
    fields = {**dict(record), **changes, "history": (*record.history, edit)}
    return parse_config(EpisodeRecord, fields, f"{record.id}: labels")


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _is_begun(path: Path) -> bool:
    if path.name == DISCARDED or path.name.startswith("."):
        return False
    if (path / UNFINISHED).is_file():
        return True
    # Without one, its writer died while it began, or is beginning right now.
    old = time.time() - path.stat().st_mtime > BEGINNING_S
    return old and NAME.match(path.name) is not None and any(path.glob("*.mcap"))


def _changed(bag: Path) -> tuple[int | str, ...]:
    """When an episode was discarded."""
    return (bag / FILE_NAME).stat().st_mtime_ns, bag.name


def _started(bag: Path) -> tuple[int | str, ...]:
    """When an episode began; those without a time in their name are older."""
    match = NAME.match(bag.name)
    return (match["time"] or "", int(match["number"])) if match else ("", -1)
