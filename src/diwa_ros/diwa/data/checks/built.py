# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the build had to remark about the bags of a dataset."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from diwa.data.build_report import FOLDER, read_report, report_path
from diwa.data.findings import Finding, from_error, repair_command
from diwa.errors import ConfigError


def check_build(folder: Path, episodes: Collection[str]) -> list[Finding]:
    """Remarks about bags of which one of these episodes was made.

    Args:
        folder: of the dataset; one that was not built from bags has no reports.
        episodes: ids of those that are in use.
    """
    findings = []
    for path in sorted((folder / FOLDER).glob("[!.]*.json")):
        file = str(path.relative_to(folder))
        try:
            report = read_report(folder, path.stem)
        except ConfigError as error:
            advice = f"{repair_command(folder)}; the next build reads that bag again"
            damaged = {"severity": "warning", "advice": advice, "repairable": True}
            findings.append(from_error("report", file, error).model_copy(update=damaged))
            continue
        used = [name for name in report.episodes if name in episodes] if report else []
        if report is not None and used and report.remarks:
            findings.append(
                Finding(
                    check="build",
                    severity="warning",
                    episode=used[0],
                    file=file,
                    what="; ".join(report.remarks),
                    expected="frames without holes, from samples of their own",
                    advice=f"see what happened when {report.bag} was recorded",
                )
            )
    return findings


def damaged_reports(folder: Path) -> list[Path]:
    """Reports that cannot be read."""
    found = []
    for path in sorted((folder / FOLDER).glob("[!.]*.json")):
        try:
            read_report(folder, path.stem)
        except ConfigError:
            found.append(report_path(folder, path.stem))
    return found
