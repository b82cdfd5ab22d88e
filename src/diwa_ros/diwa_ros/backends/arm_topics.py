# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The arm's state from franka_ros2's topics, or from those of any other driver that has a pose.

Pose and joints are enough. What else there is, is used: the wrench for the force guard, and the
whole robot state (mode, errors, success rate) where franka_msgs is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from diwa.control.arm import UNKNOWN, ArmState
from diwa_ros.arm_conversions import error_names, named_values, pose_array, wrench_array
from diwa_ros.backends.presets import Preset
from diwa_ros.polling import PolledTopic, Received


class ArmTopics:
    """Polls the state topics of a preset.

    Args:
        node: to subscribe with.
        preset: names the topics.
    """

    def __init__(self, node: Node, preset: Preset) -> None:
        state, gripper = preset.state, preset.gripper
        self._preset = preset
        self._pose = PolledTopic(node, PoseStamped, state.pose)
        self._joints = PolledTopic(node, JointState, state.joints) if state.joints else None
        self._wrench = PolledTopic(node, WrenchStamped, state.wrench) if state.wrench else None
        self._fingers = PolledTopic(node, JointState, gripper.joints) if gripper.joints else None
        kind = _robot_state_kind()
        self._full = PolledTopic(node, kind, state.robot_state) if kind else None
        self._wrong_frame = ""

    @property
    def topics(self) -> list[str]:
        """Full names of everything that is listened to."""
        return [polled.topic for polled in self._all()]

    def state(self) -> ArmState | None:
        """The newest state; None before the first pose in the right frame."""
        received = self._pose.newest()
        if received is None:
            return None
        frame = received.message.header.frame_id
        self._wrong_frame = "" if frame == self._preset.state.frame_id else frame or "(empty)"
        if self._wrong_frame:
            return None
        joints = _newest(self._joints)
        fingers = _newest(self._fingers)
        wrench = _newest(self._wrench)
        full = _newest(self._full)
        names, finger_names = self._preset.state.joint_names, self._preset.gripper.finger_names
        width = named_values(fingers.message, finger_names) if fingers else None
        stamps = [received.received_s] + [part.received_s for part in (joints, full) if part]
        return ArmState(
            stamp_s=min(stamps),
            pose=pose_array(received.message.pose),
            joints=named_values(joints.message, names) if joints else None,
            joint_velocities=named_values(joints.message, names, "velocity") if joints else None,
            gripper_width=float(width.sum()) if width is not None else None,
            force=wrench_array(wrench.message.wrench) if wrench else None,
            robot_mode=int(full.message.robot_mode) if full else UNKNOWN,
            errors=error_names(full.message.current_errors) if full else (),
            success_rate=float(full.message.control_command_success_rate) if full else None,
        )

    def problems(self) -> list[str]:
        """What is wrong with the topics, in words."""
        found = []
        if self._wrong_frame:
            found.append(
                f"{self._pose.topic} is in frame {self._wrong_frame}, not "
                f"{self._preset.state.frame_id}: correct state.frame_id in the preset"
            )
        for polled in (self._pose, self._joints):
            if polled is not None and polled.publishers == 0:
                found.append(f"nobody publishes {polled.topic}: is the driver running?")
        return found

    def notes(self) -> list[str]:
        """Which guards are off, in words."""
        found = []
        if self._full is None:
            found.append(
                "franka_msgs is not installed: the arm's mode, errors and success rate are unknown"
            )
        if self._wrench is not None and self._wrench.publishers == 0:
            found.append(f"nobody publishes {self._wrench.topic}: the force guard is off")
        if self._fingers is not None and self._fingers.publishers == 0:
            found.append(
                f"nobody publishes {self._fingers.topic}: the gripper's width is the commanded one"
            )
        return found

    def close(self) -> None:
        """Subscribe no longer."""
        for polled in self._all():
            polled.close()

    def _all(self) -> Sequence[PolledTopic]:
        parts = (self._pose, self._joints, self._wrench, self._fingers, self._full)
        return [polled for polled in parts if polled is not None]


def _newest(polled: PolledTopic | None) -> Received | None:
    return polled.newest() if polled is not None else None


def _robot_state_kind() -> type | None:
    """franka_msgs' state message, where it is installed."""
    try:
        kind: Any = importlib.import_module("franka_msgs.msg").FrankaRobotState
    except ImportError:
        return None
    return kind if isinstance(kind, type) else None
