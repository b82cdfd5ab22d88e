# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Labels and deletions: changes of the episode table that never touch an array.

Every change is kept in the history of the episodes it concerns, with its time and reason, so that
it can be taken back; taking one back leaves it in the history as undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from pathlib import Path

from diwa.config import parse_config
from diwa.data.manifest import (
    Edit,
    EpisodeFile,
    EpisodeInfo,
    Manifest,
    locked,
    read_manifest,
    read_record,
    table_hash,
    write_manifest,
    write_record,
)
from diwa.errors import ConfigError

EDITABLE = ("kind", "task", "outcome", "deleted")
MOST_NAMES = 8
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
Value = str | bool


def edit_episodes(
    folder: Path, changes: Mapping[str, Mapping[str, Value]], reason: str = ""
) -> Manifest:
    """Change rows of the episode table on disk, together as one edit.

    Args:
        folder: of the dataset.
        changes: by episode, new values of fields in `EDITABLE`.
        reason: for people.

    Returns:
        The manifest as it is then.

    Raises:
        ConfigError: an unknown episode or value; nothing is changed then.
    """
    require_text("reason", reason)
    with locked(folder):
        manifest = read_manifest(folder)
        records = _records(folder, manifest)
        missing = [name for name in changes if name not in records]
        if missing:
            raise ConfigError(
                f"{folder}: no episode {missing[0]!r}", hint=f"see `diwa dataset info {folder}`"
            )
        now = _new_time(records.values())
        for name, update in changes.items():
            before = records[name].info
            after = _changed(before, update, folder)
            differs = {
                field: (getattr(before, field), getattr(after, field))
                for field in update
                if getattr(before, field) != getattr(after, field)
            }
            if differs:
                edit = Edit(at=now, changes=differs, reason=reason)
                history = (*records[name].history, edit)
                records[name] = records[name].model_copy(update={"info": after, "history": history})
        return _write(folder, manifest, records)


def undo_edit(folder: Path) -> tuple[list[str], Edit, Manifest]:
    """Take back the last edit that is not undone yet.

    Returns:
        The episodes it concerned, the edit of the first of them, and the manifest as it is then.
    """
    with locked(folder):
        manifest = read_manifest(folder)
        records = _records(folder, manifest)
        times = [e.at for record in records.values() for e in record.history if not e.undone]
        if not times:
            raise ConfigError(f"{folder}: there is no edit to take back")
        last = max(times)
        undone: dict[str, Edit] = {}
        for name, record in records.items():
            for index, edit in enumerate(record.history):
                if edit.at != last or edit.undone:
                    continue
                undone[name] = edit
                earlier = {field: values[0] for field, values in edit.changes.items()}
                history = list(record.history)
                history[index] = edit.model_copy(update={"undone": True})
                info = _changed(record.info, earlier, folder)
                records[name] = record.model_copy(update={"info": info, "history": tuple(history)})
        return list(undone), next(iter(undone.values())), _write(folder, manifest, records)


def edits_of(folder: Path) -> list[tuple[str, Edit]]:
    """All edits of a dataset with the episode they concern, oldest first."""
    names = [info.id for info in read_manifest(folder).episodes]
    found = [(name, edit) for name in names for edit in read_record(folder, name).history]
    return sorted(found, key=lambda item: item[1].at)


def choose_episodes(manifest: Manifest, patterns: Sequence[str], where: Path) -> list[str]:
    """Ids of the episodes that are named or match a pattern such as "play_00*", in table order."""
    ids = [info.id for info in manifest.episodes]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in ids):
            shown = ", ".join(ids[:MOST_NAMES]) + (" ..." if len(ids) > MOST_NAMES else "")
            raise ConfigError(f"{where}: no episode {pattern!r}", got=shown, expected="one of them")
    return [name for name in ids if any(fnmatchcase(name, pattern) for pattern in patterns)]


def require_text(what: str, text: str) -> None:
    """Raise `ConfigError` unless this is one line of text, as every label has to be."""
    if not text.isprintable() or text != text.strip():
        raise ConfigError(what, got=ascii(text), expected="one line of printable text, UTF-8")


def _changed(info: EpisodeInfo, update: Mapping[str, Value], folder: Path) -> EpisodeInfo:
    """The row with other labels, checked."""
    unknown = [name for name in update if name not in EDITABLE]
    if unknown:
        raise ConfigError(
            f"episode {info.id}: {unknown[0]} cannot be edited", expected=", ".join(EDITABLE)
        )
    require_text(f"episode {info.id}: task", str(update.get("task", "")))
    source = f"{folder}: episode {info.id}"
    return parse_config(EpisodeInfo, {**info.model_dump(), **update}, source)


def _records(folder: Path, manifest: Manifest) -> dict[str, EpisodeFile]:
    """Records of all episodes; they may be ahead of the manifest, not the other way round."""
    if manifest.hash != table_hash(manifest.contract, manifest.episodes):
        raise ConfigError(
            f"{folder}: the manifest was changed by other means",
            hint=f"see what differs with `diwa dataset doctor {folder}`",
        )
    return {info.id: read_record(folder, info.id) for info in manifest.episodes}


def _write(folder: Path, manifest: Manifest, records: Mapping[str, EpisodeFile]) -> Manifest:
    rows = [records[info.id].info for info in manifest.episodes]
    if all(row.deleted for row in rows):
        raise ConfigError(f"{folder}: no episode would be left", hint="keep at least one")
    for name, record in records.items():
        if read_record(folder, name) != record:
            write_record(folder, record)
    return write_manifest(folder, manifest.contract, rows)


def _new_time(records: Iterable[EpisodeFile]) -> str:
    """Now; a microsecond after the last edit where the clock was set back since."""
    now = datetime.now(timezone.utc)
    last = max((edit.at for record in records for edit in record.history), default="")
    if last >= now.strftime(TIME):
        now = datetime.strptime(last, TIME).replace(tzinfo=timezone.utc) + timedelta(microseconds=1)
    return now.strftime(TIME)
