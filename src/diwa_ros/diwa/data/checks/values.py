# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Numbers that cannot be: not finite, out of range, jumping, or in other units."""

from __future__ import annotations

import numpy as np

from diwa.data.checks.episode_view import EpisodeView
from diwa.data.contract import Contract
from diwa.data.findings import Finding, frames_text

NEAR_WORKSPACE_M = 0.3  # further out than this it is another unit or frame, not a wide reach
WORKSPACE_SLACK_M = 0.1
FULL_TURNS_RAD = 2 * np.pi + 0.1  # no joint of an arm goes further; degrees do
WIDTH_M = (-0.01, 0.3)
UNIT_SLACK = 0.01  # of what a rotation matrix's columns should be
SPEED_M_PER_S = 3.0  # faster, and it is not the same movement any more
UNITS = "units and frame of the topic are those of the contract [m, rad]"


def check_finite(view: EpisodeView) -> list[Finding]:
    """No number is infinite or none."""
    findings = []
    for key, array in view.arrays.items():
        if array.dtype.kind == "f":
            bad = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
            if len(bad):
                what = f"not a finite number in {frames_text(bad)}"
                findings.append(view.finding("values", key, what, "finite numbers only"))
    return findings


def check_numbers(view: EpisodeView) -> list[Finding]:
    """Actions, joints and rotations against what they mean."""
    return [*_check_action(view), *_check_proprio(view), *_check_rotation(view)]


def _check_action(view: EpisodeView) -> list[Finding]:
    action = view.arrays["action"]
    findings = []
    beyond = np.flatnonzero((np.abs(action) > 1 + 1e-4).any(axis=1))
    if len(beyond):
        worst = float(np.abs(action).max())
        findings.append(
            view.finding(
                "values",
                "action",
                f"beyond [-1, 1], up to {worst:.4g}, in {frames_text(beyond)}",
                "actions in units of the contract's position_m_per_unit, rotation_rad_per_unit",
            )
        )
    if not np.allclose(action[-1], view.contract.action.neutral, atol=1e-6):
        what = f"the last row is {np.round(action[-1], 3).tolist()}"
        findings.append(view.finding("values", "action", what, "the neutral action, as padding"))
    return findings


def _check_proprio(view: EpisodeView) -> list[Finding]:
    limits = {
        "arm_joints": (-FULL_TURNS_RAD, FULL_TURNS_RAD, "rad"),
        "gripper_width": (*WIDTH_M, "m"),
        "gripper_action": (-1 - 1e-4, 1 + 1e-4, "1"),
    }
    findings = []
    for name, (low, high, unit) in limits.items():
        values = view.part(name)  # type: ignore[arg-type]
        if values is None:
            continue
        beyond = np.flatnonzero(((values < low) | (values > high)).any(axis=1))
        if len(beyond):
            what = f"{name} from {values.min():.4g} to {values.max():.4g} in {frames_text(beyond)}"
            expected = f"{low:.3g} to {high:.3g} [{unit}]; {UNITS}"
            findings.append(view.finding("values", "proprio", what, expected))
    return findings


def _check_rotation(view: EpisodeView) -> list[Finding]:
    rotation = view.part("rotation_6d")
    if rotation is None:
        return []
    first, second = rotation[:, :3], rotation[:, 3:]
    lengths = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    cosine = (first * second).sum(axis=1)
    error = np.abs(np.stack([lengths[0] - 1, lengths[1] - 1, cosine])).max(axis=0)
    bad = np.flatnonzero(error > UNIT_SLACK)
    if not len(bad):
        return []
    what = f"rotation_6d is no rotation in {frames_text(bad)}"
    return [view.finding("values", "proprio", what, "two columns of unit length at right angles")]


def check_position(view: EpisodeView) -> list[Finding]:
    """The TCP is where it can be, and does not jump."""
    position = view.part("position")
    if position is None:
        return []
    findings = []
    outside = _distance_outside(view.contract, position)
    far = np.flatnonzero(outside > WORKSPACE_SLACK_M)
    if len(far):
        worst = float(outside.max())
        findings.append(
            view.finding(
                "values",
                "proprio",
                f"the TCP is up to {worst:.3g} m outside the workspace in {frames_text(far)}",
                f"positions in the workspace; {UNITS}",
                severity="error" if worst > NEAR_WORKSPACE_M else "warning",
            )
        )
    step = np.linalg.norm(np.diff(position, axis=0), axis=1)
    jumps = np.flatnonzero(step > SPEED_M_PER_S / view.contract.rate_hz) + 1
    if len(jumps):
        findings.append(
            view.finding(
                "values",
                "proprio",
                f"the TCP jumps by up to {step.max():.3g} m at {frames_text(jumps)}",
                f"at most {SPEED_M_PER_S:g} m/s; a reset begins a new episode",
            )
        )
    return findings


def _distance_outside(contract: Contract, position: np.ndarray) -> np.ndarray:
    """How far each of (T, 3) is outside the workspace, along the worst axis [m]."""
    low, high = np.array(contract.workspace.minimum), np.array(contract.workspace.maximum)
    return np.asarray(np.maximum(low - position, position - high).max(axis=1))
