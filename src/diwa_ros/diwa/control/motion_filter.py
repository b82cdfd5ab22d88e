# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What one action may do to a desired pose: the safety filter, and what a real arm needs beyond it.

First a proposal is made, as like the request as can be: tilt, speed and acceleration are limited
one by one, then the safety filter sees to workspace and leash. As each of these can undo a little
of another, the largest share of the proposal is taken that keeps all limits at once. No motion at
all always does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from diwa.control.easing import StepLimits, eased, fits, largest_share
from diwa.control.filter import SafeAction, SafetyFilter, SafetyLimits, seven_numbers
from diwa.control.joint_guard import JointGuard
from diwa.control.poses import (
    angle_between,
    euler_from_quaternion,
    integrate_action,
    rotated,
    rotation_vector,
    wrap_angle,
)
from diwa.control.robots import RobotLimits
from diwa.control.tilt import tilt_excess
from diwa.data.contract import Contract

ROUNDING = 1e-7  # [m], [rad]: actions are float32
UNTOUCHED = 1e-6  # of an action: a smaller difference is no intervention


class Moment(NamedTuple):
    """Where things are when an action begins."""

    desired: np.ndarray  # (7,) pose
    move: np.ndarray  # (3,) of the control period before [m]
    turn: np.ndarray  # (3,) [rad]
    measured: np.ndarray  # (7,) pose; may be anything
    joints: np.ndarray | None  # (7,) measured [rad]
    scale: float  # [0, 1] of the motion and of the highest speed


class MotionFilter:
    """Applies a robot's limits to actions; remembers only the last gripper.

    Args:
        limits: of the robot.
        contract: gives the control rate, the action's units and the workspace.

    Attributes:
        steps, turns: limits of one control period; the speed that they leave can be lower than
            the robot's where the control rate is high: see `diwa.control.easing`.
    """

    def __init__(self, limits: RobotLimits, contract: Contract) -> None:
        motion, period_s = limits.motion, 1.0 / contract.rate_hz
        self.steps = StepLimits.per_period(
            motion.max_speed, motion.max_acceleration, motion.max_deceleration, period_s
        )
        self.turns = StepLimits.per_period(
            motion.max_turn_rate,
            motion.max_turn_acceleration,
            motion.max_turn_deceleration,
            period_s,
        )
        self._motion = motion
        self._tilts = (motion.max_pitch, motion.max_roll, motion.hand_yaw)
        self._spec = contract.action
        self._box = contract.workspace
        self._joints = JointGuard(limits, period_s)
        self.safety = SafetyFilter(
            SafetyLimits(
                action=contract.action,
                workspace=contract.workspace,
                max_step_m=self.steps.length,
                max_step_rad=2 * contract.action.rotation_rad_per_unit,  # turns have their own
                leash_m=motion.leash_m,
                leash_rad=motion.leash_rad,
            )
        )

    def filter(self, requested: object, at: Moment) -> SafeAction:
        """Make one action (7,) safe; `requested` may be anything."""
        action = seven_numbers(requested)
        if action is None:
            return self.safety.filter(requested, at.desired, at.measured)  # type: ignore[arg-type]
        wanted = np.append(action[:6] * at.scale, action[6])
        proposal = self._proposal(np.clip(action[:6], -1.0, 1.0) * at.scale, at)
        safe = self.safety.filter(np.append(proposal, action[6]), at.desired, at.measured)
        return safe if safe.rejected else self._final(safe, wanted, at)

    def _proposal(self, request: np.ndarray, at: Moment) -> np.ndarray:
        """`request` (6,) with its tilt, speed and acceleration within the limits."""
        unit_m, unit_rad = self._spec.position_m_per_unit, self._spec.rotation_rad_per_unit
        move = eased(request[:3] * unit_m, at.move, self.steps.scaled(at.scale))

        def turned(share: float) -> np.ndarray:  # the third is about the vertical: it tilts nothing
            action = np.concatenate([np.zeros(3), request[3:] * (share, share, 1.0), [1.0]])
            return integrate_action(at.desired, action, self._spec)[3:]

        share = largest_share(lambda share: self._tilt_allowed(turned(share), at))
        rotation = at.desired[3:]
        wanted = rotation_vector(rotation, turned(share))
        turn = eased(wanted, at.turn, self.turns.scaled(at.scale))
        angles = np.zeros(3)
        if turn.any():
            goal = euler_from_quaternion(rotated(rotation, turn))
            angles = wrap_angle(goal - euler_from_quaternion(rotation))
        return np.concatenate([move / unit_m, angles / unit_rad])

    def _final(self, safe: SafeAction, wanted: np.ndarray, at: Moment) -> SafeAction:
        """The largest share of an action that keeps every limit: what all else relies on."""
        move = largest_share(lambda s: self._move_allowed(_share(safe.action, s, 0.0), at))
        turn = largest_share(lambda s: self._turn_allowed(_share(safe.action, 0.0, s), at))
        both = 1.0
        if at.joints is not None:
            self._joints.look(at.joints, at.measured, at.desired)
            both = largest_share(
                lambda s: self._all_allowed(_share(safe.action, s * move, s * turn), at)
            )
        action = _share(safe.action, both * move, both * turn)
        limited = safe.workspace_limited or both < 1.0
        changed = bool(np.abs(action[:6] - wanted[:6]).max() > UNTOUCHED)
        return safe._replace(
            action=action,
            clipped=safe.clipped or (changed and not (limited or safe.leashed)),
            workspace_limited=limited,
        )

    def _move_allowed(self, action: np.ndarray, at: Moment) -> bool:
        before, measured = at.desired[:3], at.measured[:3]
        after = integrate_action(at.desired, action, self._spec)[:3]
        low, high = np.minimum(self._box.minimum, before), np.maximum(self._box.maximum, before)
        leash = max(self._motion.leash_m, float(np.linalg.norm(before - measured)))
        return (
            fits(after - before, at.move, self.steps.scaled(at.scale))
            and bool((after >= low - ROUNDING).all() and (after <= high + ROUNDING).all())
            and float(np.linalg.norm(after - measured)) <= leash + ROUNDING
        )

    def _turn_allowed(self, action: np.ndarray, at: Moment) -> bool:
        before, measured = at.desired[3:], at.measured[3:]
        after = integrate_action(at.desired, action, self._spec)[3:]
        leash = max(self._motion.leash_rad, float(angle_between(before, measured)))
        return (
            fits(rotation_vector(before, after), at.turn, self.turns.scaled(at.scale))
            and self._tilt_allowed(after, at)
            and float(angle_between(after, measured)) <= leash + ROUNDING
        )

    def _all_allowed(self, action: np.ndarray, at: Moment) -> bool:
        after = integrate_action(at.desired, action, self._spec)
        turn = rotation_vector(at.desired[3:], after[3:])
        return (
            self._joints.allowed(after[:3] - at.desired[:3], turn)
            and self._move_allowed(action, at)
            and self._turn_allowed(action, at)
        )

    def _tilt_allowed(self, after: np.ndarray, at: Moment) -> bool:
        before = tilt_excess(at.desired[3:], *self._tilts)
        return tilt_excess(after, *self._tilts) <= max(before, 0.0) + ROUNDING


def _share(action: np.ndarray, move: float, turn: float) -> np.ndarray:
    shares = np.array([move] * 3 + [turn] * 3 + [1.0])
    return (action * shares).astype(np.float32)
