# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Manifest, contract and records: do they exist, and do they say the same?"""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diwa.data.contract import Contract, load_contract
from diwa.data.findings import Finding, from_error
from diwa.data.manifest import (
    CONTRACT,
    MANIFEST,
    EpisodeFile,
    EpisodeInfo,
    Manifest,
    read_manifest,
    read_record,
    record_path,
    table_hash,
)
from diwa.data.statistics import Moments, merge
from diwa.errors import ConfigError

CLOSE = 1e-6  # relative; sums differ a little between machines
LEFT_OVER_S = 3600.0  # a job that is still at it writes more often than that


class Table(NamedTuple):
    """What could be read of a dataset's descriptions.

    Attributes:
        manifest: None when there is none that can be used.
        records: by episode, those that can be used.
        findings: what was wrong.
    """

    manifest: Manifest | None
    records: dict[str, EpisodeFile]
    findings: list[Finding]


def check_table(folder: Path, contract: Contract | None = None) -> Table:
    """Read manifest and records of a dataset.

    Args:
        folder: of the dataset.
        contract: what it is supposed to follow; None for its own.
    """
    try:
        manifest = read_manifest(folder)
    except ConfigError as error:
        return Table(None, {}, [from_error("manifest", MANIFEST, error)])
    findings = _check_contract(folder, manifest, contract)
    counts = Counter(info.id for info in manifest.episodes)
    findings += [
        Finding(
            check="table",
            episode=name,
            file=MANIFEST,
            what=f"is in the table {count} times",
            expected="every episode once",
            advice=_repair(folder),
            repairable=True,
        )
        for name, count in counts.items()
        if count > 1
    ]
    records = {}
    for info in manifest.episodes:
        record, problems = _check_record(folder, info)
        findings += problems
        if record is not None:
            records[info.id] = record
    if manifest.hash != table_hash(manifest.contract, manifest.episodes):
        findings.append(_stale(folder, "hash", "its hash is not that of its table and contract"))
    findings += _check_statistics(folder, manifest, records)
    return Table(manifest, records, findings + _check_leftovers(folder, manifest))


def same_moments(one: Moments, other: Moments) -> bool:
    """Equal but for rounding."""
    return one.count == other.count and all(
        np.allclose(getattr(one, name), getattr(other, name), rtol=CLOSE, atol=1e-9)
        for name in ("mean", "squares", "minimum", "maximum")
    )


def _check_contract(folder: Path, manifest: Manifest, contract: Contract | None) -> list[Finding]:
    findings = []
    if contract is not None and contract != manifest.contract:
        findings.append(
            Finding(
                check="contract",
                file=MANIFEST,
                what="another contract than the given one" + _difference(manifest, contract),
                expected="the same contract everywhere",
                advice="use the contract that the data carries, or build the dataset again",
            )
        )
    path = folder / CONTRACT
    if not path.exists():
        findings.append(
            Finding(
                check="contract",
                severity="warning",
                file=CONTRACT,
                what="the copy of the contract is missing",
                advice=_repair(folder),
                repairable=True,
            )
        )
        return findings
    try:
        copy = load_contract(path)
    except ConfigError as error:
        finding = from_error("contract", CONTRACT, error)
        return [*findings, finding.model_copy(update={"repairable": True})]
    if copy != manifest.contract:
        findings.append(
            Finding(
                check="contract",
                file=CONTRACT,
                what=f"it is not the contract in {MANIFEST}" + _difference(manifest, copy),
                expected="twice the same: neither file is meant to be edited",
                advice="put the right one back in both from another copy, or build again",
            )
        )
    return findings


def _difference(manifest: Manifest, other: Contract) -> str:
    lines = difflib.unified_diff(
        manifest.contract.to_yaml().splitlines(),
        other.to_yaml().splitlines(),
        MANIFEST,
        "the other",
        lineterm="",
        n=0,
    )
    return "".join(f"\n    {line}" for line in lines)


def _check_record(folder: Path, info: EpisodeInfo) -> tuple[EpisodeFile | None, list[Finding]]:
    path = record_path(folder, info.id)
    file = str(path.relative_to(folder))
    try:
        record = read_record(folder, info.id)
    except ConfigError as error:
        finding = from_error("record", file, error, info.id)
        advice = f"{_repair(folder)}: it is made anew from intact arrays"
        return None, [finding.model_copy(update={"repairable": True, "advice": advice})]
    if record.info.id != info.id:
        what = f"it is the record of episode {record.info.id}"
        finding = Finding(
            check="record",
            episode=info.id,
            file=file,
            what=what,
            advice=f"{_repair(folder)}: it is made anew from intact arrays",
            repairable=True,
        )
        return None, [finding]
    different = [
        f"{name} {getattr(info, name)!r} instead of {getattr(record.info, name)!r}"
        for name in EpisodeInfo.model_fields
        if getattr(info, name) != getattr(record.info, name)
    ]
    if not different:
        return record, []
    finding = Finding(
        check="table",
        episode=info.id,
        file=MANIFEST,
        what="it does not say what the record says: " + ", ".join(different),
        expected=f"what {file} says; edit with `diwa dataset label` only",
        advice=_repair(folder),
        repairable=True,
    )
    return record, [finding]


def _check_statistics(
    folder: Path, manifest: Manifest, records: dict[str, EpisodeFile]
) -> list[Finding]:
    kept = [records.get(info.id) for info in manifest.episodes if not info.deleted]
    usable = [record.moments for record in kept if record is not None]
    if not usable or len(usable) < len(kept):
        return []
    keys = set(manifest.statistics)
    if any(set(moments) != keys for moments in usable):
        stale = sorted(keys.symmetric_difference(*usable))
    else:
        stale = sorted(
            key
            for key in keys
            if not same_moments(manifest.statistics[key], merge([m[key] for m in usable]))
        )
    if not stale:
        return []
    return [_stale(folder, "statistics", f"not those of the episodes: {', '.join(stale)}")]


def _check_leftovers(folder: Path, manifest: Manifest) -> list[Finding]:
    """Files that nothing refers to."""
    known = {info.id for info in manifest.episodes}
    strange = [path for path in (folder / "episodes").glob("[!.]*.json") if path.stem not in known]
    findings = []
    if strange:
        findings.append(
            Finding(
                check="table",
                severity="warning",
                file=str(strange[0].relative_to(folder)),
                what=f"{len(strange)} episodes on disk that the table leaves out",
                expected="after a build of fewer bags this is as it should be",
            )
        )
    leftovers = temporary_files(folder)
    if leftovers:
        findings.append(
            Finding(
                check="leftovers",
                severity="warning",
                file=str(leftovers[0].relative_to(folder)),
                what=f"{len(leftovers)} temporary files of a job that was broken off",
                advice=_repair(folder),
                repairable=True,
            )
        )
    return findings


def temporary_files(folder: Path) -> Sequence[Path]:
    """What broken-off jobs left; not what a running one is writing."""
    now = time.time()
    return sorted(
        path for path in folder.rglob(".*.tmp") if now - path.stat().st_mtime > LEFT_OVER_S
    )


def _stale(folder: Path, check: str, what: str) -> Finding:
    return Finding(
        check=check,
        file=MANIFEST,
        what=what,
        expected="as written; by hand nothing is to be changed here",
        advice=_repair(folder),
        repairable=True,
    )


def _repair(folder: Path) -> str:
    return f"`diwa dataset repair {folder}`"
