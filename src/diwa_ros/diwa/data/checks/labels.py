# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Labels that a demonstration needs, episodes that are there twice, and the times of frames."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from diwa.data.checks.episode_view import EpisodeView
from diwa.data.findings import Finding, frames_text
from diwa.data.manifest import EpisodeInfo

OFF_RATE = 0.02  # share by which the mean period may differ from the contract's
LONG_PERIODS = 1.5  # a longer time between two frames is a gap
PARTS = 3  # of an episode that are compared for drift
FEWEST_PER_PART = 30  # frames; fewer say nothing about drift


def check_labels(folder: str, info: EpisodeInfo) -> list[Finding]:
    """A demonstration says of what, and whether it succeeded."""
    if info.kind != "demo":
        return []
    missing = [
        name
        for name, absent in (("task", not info.task), ("outcome", info.outcome == "unknown"))
        if absent
    ]
    if not missing:
        return []
    options = {"task": "--task TASK", "outcome": "--outcome success|failure"}
    command = " ".join(options[name] for name in missing)
    return [
        Finding(
            check="unlabelled",
            episode=info.id,
            file=f"episodes/{info.id}.json",
            what=f"a demonstration without {' and '.join(missing)}",
            expected="a task, and success or failure: learning uses successes only",
            advice=f"`diwa dataset label {folder} {info.id} {command}`, or --delete",
        )
    ]


def check_copies(folder: str, episodes: Iterable[EpisodeInfo]) -> list[Finding]:
    """No two episodes with the same arrays."""
    first: dict[str, str] = {}
    findings = []
    for info in episodes:
        origin = first.setdefault(info.content, info.id)
        if origin != info.id:
            findings.append(
                Finding(
                    check="duplicate-episode",
                    episode=info.id,
                    file=f"episodes/{info.id}.json",
                    what=f"it is {origin} once more",
                    expected="every recording once: else its weight in learning is doubled",
                    advice=f"`diwa dataset label {folder} {info.id} --delete`",
                )
            )
    return findings


def check_stamps(view: EpisodeView) -> list[Finding]:
    """Times rise, at the contract's rate, without gaps and without drift."""
    steps = np.diff(view.arrays["stamp_ns"])
    back = np.flatnonzero(steps <= 0) + 1
    if len(back):
        what = f"times do not rise at {frames_text(back)}"
        return [view.finding("stamps", "stamp_ns", what, "every frame later than the one before")]
    period = 1e9 / view.contract.rate_hz
    findings = []
    gaps = np.flatnonzero(steps > LONG_PERIODS * period) + 1
    if len(gaps):
        what = f"{steps.max() / 1e9:.3g} s without a frame, before {frames_text(gaps)}"
        expected = f"a frame every {period / 1e9:.3g} s"
        findings.append(view.finding("rate", "stamp_ns", what, expected))
        steps = np.delete(steps, gaps - 1)
    parts = np.array_split(steps, PARTS if len(steps) >= PARTS * FEWEST_PER_PART else 1)
    rates = [1e9 / float(part.mean()) for part in parts if len(part)]
    worst = max((abs(rate / view.contract.rate_hz - 1) for rate in rates), default=0.0)
    slack = OFF_RATE + 0.2 / max(min(len(part) for part in parts), 1)
    if worst > slack:
        what = "frames come at " + ", then ".join(f"{rate:.4g}" for rate in rates) + " Hz"
        advice = "see that camera and arm hold their rate; build again from the bags"
        expected = f"{view.contract.rate_hz:g} Hz, to {OFF_RATE:.0%}"
        findings.append(view.finding("rate", "stamp_ns", what, expected, advice))
    return findings
