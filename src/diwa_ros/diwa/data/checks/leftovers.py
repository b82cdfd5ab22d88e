# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Files that nothing refers to."""

from __future__ import annotations

import time
from pathlib import Path

from diwa.data.findings import Finding, repair_command
from diwa.data.manifest import Manifest

LEFT_OVER_S = 3600.0  # a job that is still at it writes more often than that


def check_leftovers(folder: Path, manifest: Manifest) -> list[Finding]:
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
                advice=repair_command(folder),
                repairable=True,
            )
        )
    return findings


def temporary_files(folder: Path) -> list[Path]:
    """What broken-off jobs left; not what a running one is writing."""
    now = time.time()
    return sorted(
        path for path in folder.rglob(".*.tmp") if now - path.stat().st_mtime > LEFT_OVER_S
    )
