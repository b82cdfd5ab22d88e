# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset doctor`: everything that could be wrong with a dataset, looked for at once."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from diwa.data.checks.built import check_build
from diwa.data.checks.cameras import Block, blocks_of, check_cameras
from diwa.data.checks.episode_view import EpisodeView
from diwa.data.checks.images import check_images
from diwa.data.checks.labels import check_copies, check_labels, check_stamps
from diwa.data.checks.motion import Motion, check_gripper, check_motion, motion_of
from diwa.data.checks.shards import check_content, open_arrays
from diwa.data.checks.table import check_table
from diwa.data.checks.values import check_finite, check_numbers, check_position
from diwa.data.contract import Contract
from diwa.data.findings import Diagnosis, Finding
from diwa.data.manifest import EpisodeFile, EpisodeInfo
from diwa.errors import ConfigError


class DoctorProgress(Protocol):
    """What `examine` needs of a progress display; one unit is one episode."""

    def start(self, name: str, total: int) -> None:
        """Begin a job of `total` units."""

    def advance(self, n: int = 1, **metrics: float) -> None:
        """Count `n` finished units."""

    def finish(self) -> None:
        """End the job."""


def examine(
    folder: Path,
    contract: Contract | None = None,
    *,
    quick: bool = False,
    progress: DoctorProgress | None = None,
) -> Diagnosis:
    """Look for everything that is wrong with a dataset; nothing is changed.

    Args:
        folder: of the dataset.
        contract: what it is supposed to follow; None for the one that it carries.
        quick: look at descriptions and file sizes only, not at what the arrays hold.
        progress: is told of every finished episode.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder", hint="check the path")
    table = check_table(folder, contract)
    if table.manifest is None:
        return Diagnosis(folder=str(folder), episodes=0, findings=tuple(table.findings))
    findings = list(table.findings)
    examination = _Examination(folder, table.manifest.contract, quick)
    rows = {info.id: info for info in table.manifest.episodes if not info.deleted}
    if progress is not None:
        progress.start("doctor", len(rows))
    for name, info in rows.items():
        findings += examination.episode(info, table.records.get(name))
        if progress is not None:
            progress.advance(1, findings=len(findings))
    findings += examination.together()
    findings += [*check_copies(str(folder), rows.values()), *check_build(folder, rows)]
    if progress is not None:
        progress.finish()
    return Diagnosis(folder=str(folder), episodes=len(rows), findings=tuple(findings))


class _Examination:
    """Goes from episode to episode and keeps the little that is needed to compare them."""

    def __init__(self, folder: Path, contract: Contract, quick: bool) -> None:
        self._folder = folder
        self._contract = contract
        self._quick = quick
        self._blocks: list[Block] = []
        self._motions: list[Motion] = []

    def episode(self, info: EpisodeInfo, record: EpisodeFile | None) -> list[Finding]:
        """Findings about one episode."""
        findings = check_labels(str(self._folder), record.info if record else info)
        arrays, problems = open_arrays(self._folder, self._contract, info)
        findings += problems
        if info.length < 2:
            findings.append(_too_short(info))
        if problems or self._quick or info.length < 2:
            return findings
        if record is not None:
            findings += check_content(self._folder, record, arrays)
        view = EpisodeView(str(self._folder), self._contract, info, arrays)
        findings += [*check_stamps(view), *self._contents(view)]
        self._blocks += blocks_of(view) if self._contract.image_keys else []
        return findings

    def _contents(self, view: EpisodeView) -> list[Finding]:
        """Findings about numbers, and about movement where the TCP's place can be believed."""
        findings = check_finite(view)
        if findings:
            return findings
        place = check_position(view)
        findings = [*check_numbers(view), *place]
        if any(item.severity == "error" for item in place):
            return findings
        return [*findings, *self._movement(view)]

    def _movement(self, view: EpisodeView) -> list[Finding]:
        motion = motion_of(view)
        if motion is not None:
            self._motions.append(motion)
        return [*check_images(view), *check_gripper(view)]

    def together(self) -> list[Finding]:
        """Findings from comparing episodes."""
        return [*check_cameras(self._blocks), *check_motion(str(self._folder), self._motions)]


def _too_short(info: EpisodeInfo) -> Finding:
    return Finding(
        check="shard",
        episode=info.id,
        file=f"episodes/{info.id}.json",
        what=f"{info.length} frames",
        expected="2 or more",
        advice="leave the episode out",
    )
