# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset repair`: mends what can be mended without guessing. Arrays are never written.

Descriptions are made anew from what is sound: records from intact arrays, the manifest from the
records, statistics from both. The file that is replaced stays beside the new one as `NAME.old`.
What cannot be mended is left as it is or, when asked for, left out by a reversible deletion.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from diwa.data.checks.built import damaged_reports
from diwa.data.checks.contracts import confirmed_contract
from diwa.data.checks.leftovers import temporary_files
from diwa.data.checks.shards import all_moments, content_of, open_arrays
from diwa.data.checks.table import moments_fit
from diwa.data.contract import Contract, load_contract
from diwa.data.doctor import DoctorProgress, examine
from diwa.data.edit import edit_episodes
from diwa.data.findings import Diagnosis, Finding
from diwa.data.manifest import (
    CONTRACT,
    MANIFEST,
    EpisodeFile,
    EpisodeInfo,
    Manifest,
    UnknownVersion,
    locked,
    read_manifest,
    read_record,
    record_path,
    write_manifest,
    write_record,
)
from diwa.errors import ConfigError
from diwa.files import atomic_path

LOST = ("shard", "content", "record")  # checks whose findings mean that an episode is damaged


class Repair(NamedTuple):
    """What was done, and what is still wrong.

    Attributes:
        done: one sentence per step; empty when there was nothing to do.
        remaining: diagnosis after the repair.
    """

    done: tuple[str, ...]
    remaining: Diagnosis


def repair_dataset(
    folder: Path, *, leave_out: bool = False, progress: DoctorProgress | None = None
) -> Repair:
    """Mend a dataset.

    Args:
        folder: of the dataset.
        leave_out: mark episodes as deleted whose arrays are damaged; `undo_edit` takes it back.
        progress: is told of every examined episode.

    Raises:
        ConfigError: nothing can be made of it, or a newer program wrote it.
    """
    before = examine(folder, progress=progress)
    done: list[str] = []
    if any(item.repairable or item.check == "manifest" for item in before.findings):
        with locked(folder):
            done += _mend(folder, before)
        before = examine(folder, progress=progress)
    if leave_out:
        done += _leave_out(folder, before)
        before = examine(folder, progress=progress)
    return Repair(tuple(done), before)


def _mend(folder: Path, diagnosis: Diagnosis) -> list[str]:
    manifest = _usable_manifest(folder)
    done = []
    leftovers = temporary_files(folder)
    for path in leftovers:
        path.unlink(missing_ok=True)
    if leftovers:
        done.append(f"removed {len(leftovers)} temporary files")
    for path in damaged_reports(folder):
        keep_old(path)
        path.unlink()
        done.append(f"put {path.name} of the build aside")
    contract = _contract(folder, manifest)
    rows = {info.id: info for info in manifest.episodes} if manifest else _known_rows(folder)
    stale = {item.episode for item in diagnosis.findings if item.check == "statistics"}
    kept = []
    for name, row in rows.items():
        record, step = _mend_record(folder, contract, name, row, name in stale)
        done += [step] if step else []
        kept.append(record.info if record else row)
    sound = [info for info in kept if _fits(folder, info.id, contract)]
    lost = sorted({info.id for info in kept} - {info.id for info in sound})
    done += [f"took {name} out of the table: neither record nor arrays are whole" for name in lost]
    if _is_current(sound, manifest, diagnosis):
        return done
    keep_old(folder / MANIFEST)
    write_manifest(folder, contract, sound)
    done.append(f"wrote {MANIFEST} and {CONTRACT} from the records of {len(sound)} episodes")
    return done


def _is_current(rows: list[EpisodeInfo], manifest: Manifest | None, diagnosis: Diagnosis) -> bool:
    """Whether the manifest already is what would be written."""
    ours = {MANIFEST, CONTRACT}
    concerned = any(item.file in ours or item.check == "statistics" for item in diagnosis.findings)
    return manifest is not None and not concerned and tuple(rows) == manifest.episodes


def _usable_manifest(folder: Path) -> Manifest | None:
    """The manifest, None when it is missing or damaged; one of another version stays as it is."""
    try:
        return read_manifest(folder)
    except UnknownVersion:
        raise
    except ConfigError:
        return None


def _contract(folder: Path, manifest: Manifest | None) -> Contract:
    """The contract that the hash of the table confirms, or the only one that there is."""
    path = folder / CONTRACT
    try:
        copy = load_contract(path)
    except ConfigError as error:
        if manifest is not None:
            return manifest.contract
        raise ConfigError(
            f"{folder}: neither {MANIFEST} nor {CONTRACT} can be used",
            got=error,
            hint="build the dataset again from its bags",
        ) from error
    if manifest is None or manifest.contract == copy:
        return copy
    confirmed = confirmed_contract(manifest, copy)
    if confirmed is None:
        raise ConfigError(
            f"{folder}: {MANIFEST} and {CONTRACT} hold two contracts, and the hash confirms none",
            hint=f"see the difference with `diwa dataset doctor {folder}`, and build it again",
        )
    return confirmed


def _known_rows(folder: Path) -> dict[str, EpisodeInfo]:
    """Rows of all records that can be read, for want of a table."""
    names = sorted(path.stem for path in (folder / "episodes").glob("[!.]*.json"))
    rows = {name: read_record(folder, name).info for name in names if _readable(folder, name)}
    if not rows:
        raise ConfigError(
            f"{folder}: nothing can be made of it",
            expected="a manifest or records in episodes/",
            hint="build the dataset again from its bags",
        )
    return rows


def _readable(folder: Path, name: str) -> bool:
    try:
        return read_record(folder, name).info.id == name
    except ConfigError:
        return False


def _fits(folder: Path, name: str, contract: Contract) -> bool:
    """Whether the record of an episode can be used."""
    return _readable(folder, name) and moments_fit(read_record(folder, name).moments, contract)


def _mend_record(
    folder: Path, contract: Contract, name: str, row: EpisodeInfo, stale: bool
) -> tuple[EpisodeFile | None, str]:
    """The record of an episode, made anew where it has to be and can be; and what was done."""
    whole = _readable(folder, name)
    record = read_record(folder, name) if whole else None
    if record is not None and not stale and moments_fit(record.moments, contract):
        return record, ""
    row = record.info if record else row
    arrays, problems = open_arrays(folder, contract, row)
    if problems or content_of(arrays) != row.content:
        return record, ""
    history = record.history if record else ()
    fresh = EpisodeFile(info=row, moments=all_moments(arrays), history=history)
    if record is not None and record.moments == fresh.moments:
        return record, ""
    keep_old(record_path(folder, name))
    write_record(folder, fresh)
    what = "its statistics" if record else "the record"
    return fresh, f"made {what} of {name} anew from its arrays"


def _leave_out(folder: Path, diagnosis: Diagnosis) -> list[str]:
    reasons: dict[str, Finding] = {}
    for item in diagnosis.errors:
        if item.episode and item.check in LOST:
            reasons.setdefault(item.episode, item)
    changes: Mapping[str, dict[str, str | bool]] = {name: {"deleted": True} for name in reasons}
    if changes:
        edit_episodes(folder, changes, reason="left out by repair: damaged on disk")
    return [f"left out {name}: {item.file} {item.what}" for name, item in reasons.items()]


def keep_old(path: Path) -> None:
    """Copy a file that is about to be replaced to `NAME.old`."""
    if path.is_file():
        with atomic_path(path.with_name(path.name + ".old")) as temporary:
            temporary.write_bytes(path.read_bytes())
