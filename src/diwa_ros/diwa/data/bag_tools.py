# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Labels and recovery of many bags at once, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from diwa.data.bag_folder import BagFolder, label_bag, undo_label
from diwa.data.contract import Contract
from diwa.data.edit import require_text
from diwa.data.episode import DISCARDED, FILE_NAME, UNFINISHED, EpisodeRecord, Outcome, find_bags
from diwa.data.manifest import MANIFEST
from diwa.data.recovery import recover_bag
from diwa.errors import ConfigError


class BagEdit(NamedTuple):
    """What is to be done with bags; None leaves a label as it is."""

    task: str | None = None
    outcome: Outcome | None = None
    note: str | None = None
    reason: str = ""
    delete: bool = False
    restore: bool = False
    undo: bool = False


class Recovery(NamedTuple):
    """One sentence per bag."""

    recovered: tuple[str, ...]
    failed: tuple[str, ...]


def holds_bags(path: Path) -> bool:
    """Whether a folder is a bag or has bags below it, and is no dataset."""
    if (path / MANIFEST).exists() or (path / "shards").exists() or not path.is_dir():
        return False
    return bool(find_bags(path)) or (path / DISCARDED).is_dir()


def edit_bags(path: Path, patterns: Sequence[str], edit: BagEdit) -> list[str]:
    """Change labels of bags, or move them to and from `discarded/`.

    Args:
        path: a bag, or a folder with bags below it.
        patterns: names of bags, or patterns; none when `path` is the bag.
        edit: what to do.

    Returns:
        A sentence per bag.
    """
    for name in ("task", "note", "reason"):
        require_text(name, getattr(edit, name) or "")
    single = (path / FILE_NAME).is_file()
    if single and patterns:
        raise ConfigError(f"{path}: is a bag", got="episodes", expected="none, or its folder")
    bags = _all_bags(path, edit.restore)
    names = [bag.name for bag in bags]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"{path}: no episode {pattern!r}", got=", ".join(sorted(names)[:8]))
    chosen = [bag for bag in bags if any(fnmatchcase(bag.name, p) for p in patterns or ["*"])]
    if not single and not patterns:
        raise ConfigError("diwa dataset label: which episodes?", expected="ids, or '*' for all")
    lines = []
    for bag in chosen:
        record = _edit_bag(bag, edit)
        state = "deleted" if edit.delete else record.outcome
        lines.append(f"{bag.name}: {record.kind}, {record.task or 'no task'}, {state}")
    return lines


def _edit_bag(bag: Path, edit: BagEdit) -> EpisodeRecord:
    if edit.undo:
        return undo_label(bag)
    record = label_bag(
        bag, task=edit.task, outcome=edit.outcome, note=edit.note, reason=edit.reason
    )
    if edit.delete:
        return BagFolder(bag.parent).discard(bag.name, edit.reason)
    if edit.restore:
        return BagFolder(bag.parent.parent).restore(bag.name)
    return record


def _all_bags(path: Path, discarded: bool) -> list[Path]:
    """Bags at or below a folder; those that were thrown away instead, when asked for."""
    if not discarded:
        return find_bags(path)
    if path.parent.name == DISCARDED:
        return [path]
    folders = [path / DISCARDED, *path.rglob(f"*/{DISCARDED}")]
    return sorted(bag.parent for folder in folders for bag in folder.glob(f"*/{FILE_NAME}"))


def broken_bags(path: Path) -> list[Path] | None:
    """Recordings at or below a folder that were broken off; None when there are no bags."""
    if (path / UNFINISHED).is_file() or (path / FILE_NAME).is_file():
        return [path]
    if not path.is_dir() or (path / MANIFEST).exists() or (path / "shards").exists():
        return None
    files = [*path.rglob("*.mcap"), *path.rglob(UNFINISHED)]
    folders = sorted({path, *(file.parent.parent for file in files)})
    broken = {bag for folder in folders for bag in BagFolder(folder).broken_off()}
    return sorted(broken) if broken or holds_bags(path) else None


def recover_bags(bags: Sequence[Path], contract: Contract | None = None) -> Recovery:
    """Make episodes of bags that were broken off; one that cannot be mended stops no other."""
    recovered, failed = [], []
    for bag in bags:
        try:
            record = recover_bag(bag, contract)
        except ConfigError as error:
            failed.append(str(error))
            continue
        recovered.append(f"{bag}: {record.duration_s:.1f} s, {record.reason or record.outcome}")
    return Recovery(tuple(recovered), tuple(failed))
