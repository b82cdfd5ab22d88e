# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The arrays of an episode: there, complete, and those that were written?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diwa.data.arrays import array_specs
from diwa.data.checks.table import same_moments
from diwa.data.contract import Contract
from diwa.data.dataset import UNREADABLE
from diwa.data.findings import Finding, repair_command
from diwa.data.manifest import EpisodeFile, EpisodeInfo, record_path, shard_path
from diwa.data.statistics import Moments, moments_of

BLOCK_FRAMES = 256
ADVICE = (
    "bring the file back from a copy, build the dataset again from its bags, or leave the"
    " episode out: `diwa dataset repair {folder} --leave-out`"
)


class Arrays(NamedTuple):
    """Arrays of one episode, mapped from disk.

    Attributes:
        arrays: by key, those that can be read and have the right type and shape.
        findings: about the others.
    """

    arrays: dict[str, np.ndarray]
    findings: list[Finding]


def open_arrays(folder: Path, contract: Contract, info: EpisodeInfo) -> Arrays:
    """Map all shards of an episode and compare them with what the table promises."""
    arrays = {}
    findings = []
    for key, (dtype, shape) in array_specs(contract).items():
        path = shard_path(folder, key, info.id)
        problem = ""
        expected = f"{info.length} frames of {dtype} {'x'.join(map(str, shape)) or 'scalars'}"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            problem = "missing"
        except UNREADABLE as error:
            size = path.stat().st_size
            problem = f"cannot be read ({size} bytes): {error}" if size else "empty: 0 bytes"
        else:
            if array.dtype != dtype or array.shape[1:] != shape:
                problem = f"holds {array.dtype} of shape {array.shape}"
            elif len(array) != info.length:
                problem = f"holds {len(array)} frames"
            elif not array.flags.c_contiguous:
                problem = "is stored by columns"
            else:
                arrays[key] = array
        if problem:
            findings.append(
                Finding(
                    check="shard",
                    episode=info.id,
                    file=str(path.relative_to(folder)),
                    what=problem,
                    expected=expected,
                    advice=ADVICE.format(folder=folder),
                )
            )
    return Arrays(arrays, findings)


def content_of(arrays: Mapping[str, np.ndarray]) -> str:
    """Hash of all arrays of an episode, as its row carries it."""
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = arrays[key]
        digest.update(f"{key} {array.dtype} {array.shape}".encode())
        for start in range(0, len(array), BLOCK_FRAMES):
            digest.update(np.ascontiguousarray(array[start : start + BLOCK_FRAMES]).data)
    return digest.hexdigest()[:16]


def all_moments(arrays: Mapping[str, np.ndarray]) -> dict[str, Moments]:
    """Moments of an episode as its record carries them."""
    return {
        key: moments_of(array[:-1] if key == "action" else array)
        for key, array in arrays.items()
        if key != "stamp_ns"
    }


def check_content(
    folder: Path, record: EpisodeFile, arrays: Mapping[str, np.ndarray]
) -> list[Finding]:
    """Compare complete arrays with the hash and the moments in the episode's record."""
    info = record.info
    if content_of(arrays) != info.content:
        return [
            Finding(
                check="content",
                episode=info.id,
                file=f"shards/*/{info.id}.npy",
                what="the arrays are not those that were written: their hash differs",
                expected=info.content,
                advice=ADVICE.format(folder=folder),
            )
        ]
    measured = all_moments(arrays)
    stale = [
        key
        for key in measured
        if key not in record.moments or not same_moments(record.moments[key], measured[key])
    ]
    if not stale:
        return []
    return [
        Finding(
            check="statistics",
            episode=info.id,
            file=str(record_path(folder, info.id).relative_to(folder)),
            what=f"not those of the arrays: {', '.join(stale)}",
            expected="moments of the intact arrays",
            advice=repair_command(folder),
            repairable=True,
        )
    ]
