# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""From actions at the control rate to targets at any rate, none of them beyond the limits.

Once per control period an action moves the desired pose: the safety filter first, then tilt,
speed and acceleration. Between two desired poses the position goes straight and the rotation
along the shortest arc, both at constant speed, which the twist of every target tells. What an
action could not do is not made up for later: the pose never runs ahead of what was executed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diwa.control.easing import StepLimits, eased, fits, largest_share
from diwa.control.filter import (
    SafeAction,
    SafetyCounts,
    SafetyFilter,
    SafetyLimits,
    seven_numbers,
    valid_pose,
)
from diwa.control.poses import (
    angle_between,
    euler_from_quaternion,
    integrate_action,
    make_pose,
    rotated,
    rotation_vector,
    wrap_angle,
)
from diwa.control.robots import RobotLimits
from diwa.control.tilt import tilt_excess
from diwa.data.contract import Contract

ROUNDING = 1e-7  # [m], [rad]: of actions, which are float32
UNTOUCHED = 1e-6  # of an action: a smaller difference is no intervention


class Target(NamedTuple):
    """Where the arm is to be, and how fast it is to be moving there."""

    pose: np.ndarray  # (7,) float64: xyz [m], quaternion xyzw
    twist: np.ndarray  # (6,) float64 [m/s], [rad/s] about the base frame's axes


class TargetStream:
    """The desired pose of an arm, moved by actions.

    Seed it before anything else. Then, per control period: `step` once, and `sample` as often as
    targets are sent, with shares of the period that end with 1.

    Args:
        limits: of the robot.
        contract: gives the control rate, the action's units and the workspace.

    Attributes:
        counts: how often a limit had to act.
        steps, turns: limits of one control period; the speed that they leave can be lower than
            the robot's where the control rate is high: see `diwa.control.easing`.
    """

    def __init__(self, limits: RobotLimits, contract: Contract) -> None:
        motion = limits.motion
        self.counts = SafetyCounts()
        self.period_s = 1.0 / contract.rate_hz
        self.steps = StepLimits.per_period(
            motion.max_speed, motion.max_acceleration, motion.max_deceleration, self.period_s
        )
        self.turns = StepLimits.per_period(
            motion.max_turn_rate,
            motion.max_turn_acceleration,
            motion.max_turn_deceleration,
            self.period_s,
        )
        self._motion = motion
        self._spec = contract.action
        self._box = contract.workspace
        self._filter = SafetyFilter(
            SafetyLimits(
                action=contract.action,
                workspace=contract.workspace,
                max_step_m=self.steps.length,
                max_step_rad=2 * contract.action.rotation_rad_per_unit,  # turns have their own
                leash_m=motion.leash_m,
                leash_rad=motion.leash_rad,
            )
        )
        self._before: np.ndarray | None = None
        self._after = np.zeros(7)
        self._move = np.zeros(3)  # of the latest period [m]
        self._turn = np.zeros(3)  # [rad]
        self._sampled = np.zeros(7)

    @property
    def seeded(self) -> bool:
        """Whether there is a desired pose."""
        return self._before is not None

    @property
    def desired(self) -> np.ndarray:
        """The desired pose (7,) at the end of the latest period."""
        assert self._before is not None, "seed the stream first"
        return self._after.copy()

    @property
    def gripper(self) -> float:
        """Last commanded: 1 open, -1 closed."""
        return self._filter.gripper

    def seed(self, measured: np.ndarray, gripper: float | None = None) -> bool:
        """Take the measured pose (7,) for the desired one, at rest; false when it is no pose."""
        pose = valid_pose(measured)
        if pose is None:
            return False
        self._rest_at(make_pose(pose[:3], pose[3:]))
        if gripper is not None:
            self._filter.gripper = 1.0 if gripper >= 0 else -1.0
        return True

    def hold(self) -> None:
        """Stop where the last target is."""
        if self.seeded:
            self._rest_at(self._sampled)

    def step(
        self, action: np.ndarray | None, measured: np.ndarray, speed_scale: float = 1.0
    ) -> SafeAction:
        """Begin a control period: move the desired pose by one action.

        Args:
            action: (7,) as it came in, may be anything; None: there is none, stay.
            measured: (7,) pose of the TCP.
            speed_scale: (0, 1], of the motion and of the highest speed.

        Returns:
            What is executed during this period, in units of the action.
        """
        assert self._before is not None, "seed the stream first"
        wanted = seven_numbers(self._filter.hold() if action is None else action)
        scale = min(max(speed_scale, 0.0), 1.0) if speed_scale == speed_scale else 0.0
        if wanted is None:
            safe = self._filter.filter(action, self._after, measured)  # type: ignore[arg-type]
        else:
            request = np.append(np.clip(wanted[:6], -1.0, 1.0) * scale, wanted[6])
            safe = self._filter.filter(self._eased(request, scale), self._after, measured)
            final = self._fitting(safe.action, measured, scale) if not safe.rejected else None
            if final is not None:
                clipped = bool(np.abs(final[:6] - wanted[:6] * scale).max() > UNTOUCHED)
                other = safe.workspace_limited or safe.leashed
                safe = safe._replace(action=final, clipped=safe.clipped or (clipped and not other))
        self._advance(safe)
        return safe

    def sample(self, share: float) -> Target:
        """The target at a share in [0, 1] of the period; beyond it, the pose at its end.

        The twist fades to nothing during one period more: a late step stops the arm.
        """
        assert self._before is not None, "seed the stream first"
        share = max(share, 0.0) if share == share else 1.0
        along = min(share, 1.0)
        rotation = (
            self._after[3:] if along == 1.0 else rotated(self._before[3:], along * self._turn)
        )
        position = self._before[:3] + along * (self._after[:3] - self._before[:3])
        pose = np.concatenate([position, _same_side(rotation, self._sampled[3:])])
        fade = min(max(2.0 - share, 0.0), 1.0)
        self._sampled = pose
        twist = np.concatenate([self._move, self._turn]) * (fade / self.period_s)
        return Target(pose.copy(), twist)

    def stretch(self, measured: np.ndarray) -> float:
        """How far the desired pose is from the measured one, in leashes; infinite without a pose.

        More than 1 is possible where the arm was pushed or does not follow.
        """
        pose = valid_pose(measured)
        if pose is None or not self.seeded:
            return float("inf")
        away = float(np.linalg.norm(self._sampled[:3] - pose[:3])) / self._motion.leash_m
        turned = float(angle_between(self._sampled[3:], pose[3:])) / self._motion.leash_rad
        return max(away, turned)

    def _rest_at(self, pose: np.ndarray) -> None:
        self._before = pose.copy()
        self._after, self._sampled = pose.copy(), pose.copy()
        self._move, self._turn = np.zeros(3), np.zeros(3)

    def _eased(self, request: np.ndarray, scale: float) -> np.ndarray:
        """`request` (7,) with its tilt, speed and acceleration within the limits."""
        unit_m, unit_rad = self._spec.position_m_per_unit, self._spec.rotation_rad_per_unit
        move = eased(request[:3] * unit_m, self._move, self.steps.scaled(scale))
        upright = request[3:6].copy()

        def leans(share: float) -> np.ndarray:  # the rest is about the vertical
            return np.array([share * upright[0], share * upright[1], upright[2]])

        share = largest_share(lambda share: self._tilt_allowed(self._turned(leans(share))))
        rotation = self._after[3:]
        wanted = rotation_vector(rotation, self._turned(leans(share)))
        turn = eased(wanted, self._turn, self.turns.scaled(scale))
        if turn.any():
            goal = euler_from_quaternion(rotated(rotation, turn))
            upright = wrap_angle(goal - euler_from_quaternion(rotation)) / unit_rad
        else:
            upright = np.zeros(3)
        return np.concatenate([move / unit_m, upright, request[6:]])

    def _fitting(self, action: np.ndarray, measured: np.ndarray, scale: float) -> np.ndarray:
        """The largest share of `action` (7,) that keeps every limit: what all else relies on."""
        steps, turns = self.steps.scaled(scale), self.turns.scaled(scale)
        move = largest_share(lambda s: self._move_allowed(_share(action, s, 0.0), measured, steps))
        turn = largest_share(lambda s: self._turn_allowed(_share(action, 0.0, s), measured, turns))
        return _share(action, move, turn)

    def _move_allowed(self, action: np.ndarray, measured: np.ndarray, limits: StepLimits) -> bool:
        before, after = self._after[:3], integrate_action(self._after, action, self._spec)[:3]
        low, high = np.minimum(self._box.minimum, before), np.maximum(self._box.maximum, before)
        slack = float(np.linalg.norm(before - measured[:3]))
        return (
            fits(after - before, self._move, limits)
            and bool((after >= low - ROUNDING).all() and (after <= high + ROUNDING).all())
            and float(np.linalg.norm(after - measured[:3]))
            <= max(self._motion.leash_m, slack) + ROUNDING
        )

    def _turn_allowed(self, action: np.ndarray, measured: np.ndarray, limits: StepLimits) -> bool:
        before = self._after[3:]
        after = integrate_action(self._after, action, self._spec)[3:]
        slack = max(self._motion.leash_rad, float(angle_between(before, measured[3:])))
        return (
            fits(rotation_vector(before, after), self._turn, limits)
            and self._tilt_allowed(after)
            and float(angle_between(after, measured[3:])) <= slack + ROUNDING
        )

    def _tilt_allowed(self, after: np.ndarray) -> bool:
        motion = self._motion
        limits = (motion.max_pitch, motion.max_roll, motion.hand_yaw)
        before = tilt_excess(self._after[3:], *limits)
        return tilt_excess(after, *limits) <= max(before, 0.0) + ROUNDING

    def _turned(self, upright: np.ndarray) -> np.ndarray:
        action = np.concatenate([np.zeros(3), upright, [1.0]])
        return integrate_action(self._after, action, self._spec)[3:]

    def _advance(self, safe: SafeAction) -> None:
        before = self._after
        after = integrate_action(before, safe.action, self._spec)
        after[3:] = _same_side(after[3:], before[3:])
        self._before, self._after = before, after
        self._move = after[:3] - before[:3]
        self._turn = rotation_vector(before[3:], after[3:])
        counts = self.counts
        counts.actions += 1
        counts.clipped += safe.clipped
        counts.workspace_limited += safe.workspace_limited
        counts.leashed += safe.leashed
        counts.rejected += safe.rejected


def _share(action: np.ndarray, move: float, turn: float) -> np.ndarray:
    shares = np.array([move] * 3 + [turn] * 3 + [1.0])
    return (action * shares).astype(np.float32)


def _same_side(quaternion: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The one of a rotation's two quaternions that is nearer to `reference`."""
    return -quaternion if float(quaternion @ reference) < 0 else quaternion
