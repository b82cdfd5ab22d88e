# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What runs at 1 kHz in franky's thread, and how it is begun, followed and brought to rest.

Only torques are commanded: motion generators for joints or poses end with an error whenever
commands are lost. Whoever begins a motion holds the lock that keeps others from reading meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from diwa.control.joint_path import JointPath
from diwa.control.robots import RobotLimits
from diwa_ros.backends.libfranka_link import LibfrankaSettings, import_franky

REST_TIMEOUT_S = 5.0  # for a motion to come to rest
UPDATE_PERIOD_S = 0.01  # of the joints' targets on the way home
JOINT_STIFFNESS = np.array([200.0, 200.0, 200.0, 200.0, 80.0, 60.0, 40.0])  # [N m/rad]
WAY_TOLERANCE = 0.3  # [rad] a joint farther from its target has met something
END_TOLERANCE = 0.03  # [rad]
SETTLE_S = 3.0  # after the way, for the last joint to arrive


def follow_poses(robot: Any, limits: RobotLimits, settings: LibfrankaSettings) -> Any:
    """Begin to follow poses with the stiffness of the limits; the elbow stays where it is."""
    franky, arm, motion = import_franky(), limits.arm, limits.motion
    return franky.CartesianImpedanceTracker(
        robot,
        translational_stiffness=limits.stiffness.translation,
        rotational_stiffness=limits.stiffness.rotation,
        translational_error_clip=np.full(3, motion.leash_m),
        rotational_error_clip=np.full(3, motion.leash_rad),
        posture_task=franky.PostureTask(robot.state.q, settings.posture_stiffness),
        max_delta_tau=settings.max_torque_step,
        lower_joint_limits=np.array(arm.joint_minimum),
        upper_joint_limits=np.array(arm.joint_maximum),
        joint_limit_activation_distance=motion.joint_margin,
    )


def begin_to_rest(robot: Any) -> None:
    """Let the motion under way end gently; it takes a moment."""
    robot.move(import_franky().TorqueStopMotion(), asynchronous=True)


class JointMove:
    """A motion of the joints to a goal, yielding to what is in the way; begins when made."""

    def __init__(
        self, robot: Any, goal: np.ndarray, limits: RobotLimits, settings: LibfrankaSettings
    ) -> None:
        share, arm = limits.home.dynamics, limits.arm
        self._robot = robot
        self._goal = goal
        self._path = JointPath(
            robot.state.q,
            goal,
            share * np.array(arm.joint_velocity),
            share * np.array(arm.joint_acceleration),
        )
        self._tracker = import_franky().JointImpedanceTracker(
            robot, stiffness=JOINT_STIFFNESS, max_delta_tau=settings.max_torque_step
        )

    def follow(self, timeout_s: float, given_up: Callable[[], bool]) -> str:
        """Lead the arm to the goal and bring it to rest; says why it is not there, or nothing."""
        begin = time.monotonic()
        until = min(timeout_s, self._path.duration_s + SETTLE_S)
        problem = ""
        while not problem and self._tracker.is_running:
            now = time.monotonic() - begin
            joints, velocities = self._path.sample(now)
            self._tracker.set_target(joints, velocities)
            away = np.abs(self._robot.state.q - joints).max()
            if now >= self._path.duration_s and away < END_TOLERANCE:
                break
            if given_up():
                problem = "given up on the way"
            elif away > WAY_TOLERANCE:
                problem = f"something is in the way: a joint is {away:.2f} rad from its target"
            elif now > until:
                problem = f"a joint is still {away:.2f} rad from home after {now:.0f} s"
            time.sleep(UPDATE_PERIOD_S)
        self._tracker.stop()  # raises why it has ended by itself
        return problem
