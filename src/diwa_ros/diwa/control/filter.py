# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The last thing between a policy and an arm: every action passes through here.

What comes out is finite and within [-1, 1], its desired pose stays in the workspace and on a leash
to the measured pose, and one step is no longer than the limits say. The filter only takes away: a
request not to move always passes as it is. Where the desired pose is already beyond a limit (the
arm was pushed, or started there) it may not get any farther, and may always come back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from pydantic import PositiveFloat

from diwa.config import Config
from diwa.control.poses import (
    angle_between,
    euler_from_quaternion,
    quaternion_from_euler,
)
from diwa.data.contract import ActionSpec, Contract, Workspace

ROUNDING = 1e-9  # [m], [rad]: a smaller difference is no intervention
MAX_POSITION = 100.0  # [m] a pose beyond is taken for nonsense
BISECTIONS = 16


class SafetyLimits(Config):
    """What an action may do. Distances are between desired poses, leashes to the measured one."""

    action: ActionSpec
    workspace: Workspace
    max_step_m: PositiveFloat = 0.03  # desired position per control step
    max_step_rad: PositiveFloat = 0.08  # norm of the three Euler increments per control step
    leash_m: PositiveFloat = 0.05
    leash_rad: PositiveFloat = 0.3

    @classmethod
    def from_contract(cls, contract: Contract) -> SafetyLimits:
        """The contract's action and workspace, the other limits as they are by default."""
        return cls(action=contract.action, workspace=contract.workspace)


class SafeAction(NamedTuple):
    """What may be executed, and what had to be done to it."""

    action: np.ndarray  # (7,) float32 in [-1, 1], gripper -1 or 1
    clipped: bool  # beyond [-1, 1] or the step limits
    workspace_limited: bool
    leashed: bool
    rejected: bool  # not seven finite numbers: no motion, gripper as before


@dataclass
class SafetyCounts:
    """How often the filter had to act, since it was made."""

    actions: int = 0
    clipped: int = 0
    workspace_limited: int = 0
    leashed: int = 0
    rejected: int = 0


@dataclass
class SafetyFilter:
    """Applies `SafetyLimits`; between actions it remembers only counts and the last gripper."""

    limits: SafetyLimits
    counts: SafetyCounts = field(default_factory=SafetyCounts)
    gripper: float = 1.0  # last commanded: 1 open, -1 closed

    def filter(
        self, requested: np.ndarray, desired: np.ndarray, measured: np.ndarray
    ) -> SafeAction:
        """Make one action safe.

        Args:
            requested: (7,) as it came in; may be anything.
            desired: (7,) pose that the action will be added to, before it.
            measured: (7,) pose of the TCP.
        """
        safe = self._filter(requested, desired, measured)
        self.gripper = float(safe.action[6])
        self.counts.actions += 1
        self.counts.clipped += safe.clipped
        self.counts.workspace_limited += safe.workspace_limited
        self.counts.leashed += safe.leashed
        self.counts.rejected += safe.rejected
        return safe

    def hold(self) -> np.ndarray:
        """The action (7,) float32 that moves nothing and leaves the gripper as it is."""
        return np.array([0.0] * 6 + [self.gripper], dtype=np.float32)

    def _filter(self, requested: object, desired: object, measured: object) -> SafeAction:
        action = seven_numbers(requested)
        before, actual = valid_pose(desired), valid_pose(measured)
        if action is None or before is None or actual is None:
            return SafeAction(self.hold(), False, False, False, rejected=True)
        limits, spec = self.limits, self.limits.action
        unit_m, unit_rad = spec.position_m_per_unit, spec.rotation_rad_per_unit
        inside = np.clip(action, -1.0, 1.0)
        move = shortened(inside[:3] * unit_m, limits.max_step_m)
        turn = shortened(inside[3:6] * unit_rad, limits.max_step_rad)
        clipped = (
            not np.array_equal(inside[:6], action[:6])
            or _differ(move, inside[:3] * unit_m)
            or _differ(turn, inside[3:6] * unit_rad)
        )
        offset = before[:3] - actual[:3]
        on_leash = _leash_move(move, offset, limits.leash_m)
        in_box = self._box_move(on_leash, before[:3])
        # Projections can turn a long step; what is left is shortened, which breaks nothing.
        final_move = shorten_to_leash(np.clip(in_box, -unit_m, unit_m), offset, limits.leash_m)
        final_turn = _leash_turn(turn, before[3:], actual[3:], limits.leash_rad)
        gripper = 1.0 if action[6] >= spec.gripper_threshold else -1.0
        safe = np.concatenate([final_move / unit_m, final_turn / unit_rad, [gripper]])
        return SafeAction(
            np.clip(safe, -1.0, 1.0).astype(np.float32),
            clipped=clipped,
            workspace_limited=_differ(in_box, on_leash),
            leashed=_differ(on_leash, move) or _differ(final_turn, turn),
            rejected=False,
        )

    def _box_move(self, move: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """The part of `move` that ends in the workspace; from outside, none that leads farther."""
        low = np.minimum(self.limits.workspace.minimum, desired) - desired
        high = np.maximum(self.limits.workspace.maximum, desired) - desired
        return np.clip(move, low, high)


def seven_numbers(value: object) -> np.ndarray | None:
    """`value` as (7,) float64, or None when it is anything but seven finite numbers."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if array.shape == (7,) and bool(np.isfinite(array).all()) else None


def valid_pose(value: object) -> np.ndarray | None:
    """`value` as a pose (7,) float64, or None when it is none."""
    pose = seven_numbers(value)
    if pose is None or np.abs(pose[:3]).max() > MAX_POSITION:
        return None
    return pose if 0.5 < np.abs(pose[3:]).sum() < 4.0 else None


def shortened(vector: np.ndarray, limit: float) -> np.ndarray:
    """`vector`, scaled down to the length `limit` where it is longer."""
    length = float(np.sqrt(vector @ vector))
    return vector if length <= limit else vector * (limit / length)


def _leash_move(move: np.ndarray, offset: np.ndarray, leash: float) -> np.ndarray:
    """`move` with its end projected onto the ball that the leash allows.

    Along the leash's end the arm can still slide. `offset` is desired minus measured position.
    """
    radius = max(leash, float(np.sqrt(offset @ offset)))
    return shortened(offset + move, radius) - offset


def shorten_to_leash(move: np.ndarray, offset: np.ndarray, leash: float) -> np.ndarray:
    """The longest part of `move`, in its direction, that the leash allows."""
    squared = max(leash * leash, float(offset @ offset))
    end = offset + move
    if end @ end <= squared:
        return move
    a, b, c = float(move @ move), float(offset @ move), float(offset @ offset) - squared
    share = (math.sqrt(max(b * b - a * c, 0.0)) - b) / a
    return move * min(max(share, 0.0), 1.0)


def _leash_turn(
    turn: np.ndarray, desired: np.ndarray, measured: np.ndarray, leash: float
) -> np.ndarray:
    """The longest part of `turn` (Euler increments) that the leash allows."""
    euler = euler_from_quaternion(desired)
    radius = max(leash, float(angle_between(desired, measured)))

    def allowed(share: float) -> bool:
        end = quaternion_from_euler(euler + share * turn)
        return float(angle_between(end, measured)) <= radius + ROUNDING

    if not turn.any() or allowed(1.0):
        return turn
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(middle) else (low, middle)
    return turn * low


def _differ(first: np.ndarray, second: np.ndarray) -> bool:
    return bool(np.abs(first - second).max() > ROUNDING)
