# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Manifest, contract and records: do they exist, and do they say the same?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diwa.data.arrays import array_specs
from diwa.data.checks.contracts import check_contract
from diwa.data.checks.leftovers import check_leftovers
from diwa.data.contract import Contract
from diwa.data.findings import Finding, from_error, repair_command
from diwa.data.manifest import (
    CONTRACT,
    MANIFEST,
    EpisodeFile,
    EpisodeInfo,
    Manifest,
    UnknownVersion,
    read_manifest,
    read_record,
    record_path,
    table_hash,
)
from diwa.data.statistics import Moments, merge
from diwa.errors import ConfigError

MOMENT_FIELDS = ("mean", "squares", "minimum", "maximum")
CLOSE = 1e-6  # relative; sums differ a little between machines


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
        finding = from_error("manifest", MANIFEST, error)
        if (folder / CONTRACT).is_file() and not isinstance(error, UnknownVersion):
            mended = {"advice": repair_command(folder), "repairable": True}
            finding = finding.model_copy(update=mended)
        return Table(None, {}, [finding])
    findings = check_contract(folder, manifest, contract)
    counts = Counter(info.id for info in manifest.episodes)
    findings += [
        Finding(
            check="table",
            episode=name,
            file=MANIFEST,
            what=f"is in the table {count} times",
            expected="every episode once",
            advice=repair_command(folder),
            repairable=True,
        )
        for name, count in counts.items()
        if count > 1
    ]
    records = {}
    for info in manifest.episodes:
        record, problems = _check_record(folder, manifest.contract, info)
        findings += problems
        if record is not None:
            records[info.id] = record
    if manifest.hash != table_hash(manifest.contract, manifest.episodes):
        findings.append(_stale(folder, "table", "its hash is not that of its rows and contract"))
    findings += _check_statistics(folder, manifest, records)
    return Table(manifest, records, findings + check_leftovers(folder, manifest))


def same_moments(one: Moments, other: Moments) -> bool:
    """Equal but for rounding."""
    return one.count == other.count and all(
        len(getattr(one, name)) == len(getattr(other, name))
        and np.allclose(getattr(one, name), getattr(other, name), rtol=CLOSE, atol=1e-9)
        for name in MOMENT_FIELDS
    )


def moments_fit(moments: Mapping[str, Moments], contract: Contract) -> bool:
    """Whether moments are of the contract's arrays: the right keys and numbers of channels."""
    channels = {k: s[-1] for k, (_, s) in array_specs(contract).items() if k != "stamp_ns"}
    return set(moments) == set(channels) and all(
        value.count > 0 and len(getattr(value, name)) == channels[key]
        for key, value in moments.items()
        for name in MOMENT_FIELDS
    )


def _check_record(
    folder: Path, contract: Contract, info: EpisodeInfo
) -> tuple[EpisodeFile | None, list[Finding]]:
    path = record_path(folder, info.id)
    file = str(path.relative_to(folder))
    try:
        record = read_record(folder, info.id)
    except ConfigError as error:
        finding = from_error("record", file, error, info.id)
        advice = f"{repair_command(folder)}: it is made anew from intact arrays"
        return None, [finding.model_copy(update={"repairable": True, "advice": advice})]
    fits = moments_fit(record.moments, contract)
    if record.info.id != info.id or not fits:
        what = f"it is the record of episode {record.info.id}"
        if not fits:
            what = "its statistics are not those of the contract's arrays"
        finding = Finding(
            check="record",
            episode=info.id,
            file=file,
            what=what,
            advice=f"{repair_command(folder)}: it is made anew from intact arrays",
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
        advice=repair_command(folder),
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
    stale = sorted(
        key
        for key in usable[0]
        if key not in manifest.statistics
        or not same_moments(manifest.statistics[key], merge([m[key] for m in usable]))
    )
    stale += sorted(set(manifest.statistics) - set(usable[0]))
    if not stale:
        return []
    return [_stale(folder, "statistics", f"not those of the episodes: {', '.join(stale)}")]


def _stale(folder: Path, check: str, what: str) -> Finding:
    return Finding(
        check=check,
        file=MANIFEST,
        what=what,
        expected="as written; by hand nothing is to be changed here",
        advice=repair_command(folder),
        repairable=True,
    )
