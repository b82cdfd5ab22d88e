# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""An arm's driver and controllers as the bridge sees them, by preset, in a thread of their own."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState

from diwa.control.kinematics import franka_chain
from diwa.control.poses import make_pose, quaternion_from_euler, rotated
from diwa_ros.arm_conversions import pose_array
from diwa_ros.backends.presets import Preset
from diwa_ros.conversions import fill_joints, fill_pose, make_joints
from diwa_ros.conversions import make_pose as make_pose_message
from diwa_ros.polling import NEWEST

START = make_pose(np.array([0.45, 0.0, 0.4]), quaternion_from_euler(np.array([np.pi, 0.0, 0.0])))
JOINTS = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])
KINDS = {"pose": PoseStamped, "twist": TwistStamped, "joints": JointState}
TWIST_AGE_S = 0.1  # as in MoveIt Servo


class FakeControllers:
    """Publishes what a preset's driver publishes, best effort; goes where it is told to.

    Args:
        context: initialised, with the test's domain.
        preset: names topics and frames.
        rate_hz: of the state topics.

    Attributes:
        targets: (time received [s], message) of everything on the target topic.
        twists: likewise of the feed-forward.
        pose, joints, width, force: what is reported.
        silent: nothing is published.
        silent_joints: joint states are not.
        frozen: the arm does not move.
        frame_id: of the pose.
    """

    def __init__(self, context: rclpy.Context, preset: Preset, rate_hz: float = 100.0) -> None:
        self.targets: list[tuple[float, Any]] = []
        self.twists: list[tuple[float, TwistStamped]] = []
        self.pose, self.joints, self.width = START.copy(), JOINTS.copy(), 0.08
        self.force = np.zeros(3)
        self.silent = self.silent_joints = self.frozen = False
        self.frame_id = preset.state.frame_id
        self._twist = (float("-inf"), np.zeros(6))
        self._period_s = 1 / rate_hz
        self.node = rclpy.create_node("controllers", context=context)
        self._make_topics(preset)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Publish no longer."""
        self._ended.set()
        self._executor.wake()
        self._thread.join(10)
        self._executor.shutdown()
        self.node.destroy_node()

    def _make_topics(self, preset: Preset) -> None:
        node, state = self.node, preset.state
        self._poses = node.create_publisher(PoseStamped, state.pose, NEWEST)
        self._arm = node.create_publisher(JointState, state.joints, NEWEST)
        self._wrenches = node.create_publisher(WrenchStamped, state.wrench, NEWEST)
        self._fingers = node.create_publisher(JointState, preset.gripper.joints, NEWEST)
        self._pose_message = make_pose_message(self.frame_id)
        self._arm_message = make_joints(state.joint_names)
        self._finger_message = make_joints(preset.gripper.finger_names)
        self._wrench_message = WrenchStamped()
        target = preset.target
        node.create_subscription(KINDS[target.kind], target.topic, self._on_target, 1)
        if target.twist_topic:
            node.create_subscription(
                TwistStamped,
                target.twist_topic,
                lambda twist: self.twists.append((time.monotonic(), twist)),
                1,
            )
        node.create_timer(self._period_s, self._on_timer)

    def _spin(self) -> None:
        while not self._ended.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def _on_target(self, message: Any) -> None:
        now = time.monotonic()
        self.targets.append((now, message))
        if isinstance(message, TwistStamped):
            linear, angular = message.twist.linear, message.twist.angular
            values = [linear.x, linear.y, linear.z, angular.x, angular.y, angular.z]
            self._twist = (now, np.array(values))
        elif isinstance(message, PoseStamped) and not self.frozen:
            self.pose = pose_array(message.pose)
        elif isinstance(message, JointState) and not self.frozen:
            before = franka_chain(self.joints).flange
            self.joints = np.array(message.position)
            self.pose[:3] += franka_chain(self.joints).flange - before

    def _on_timer(self) -> None:
        received, twist = self._twist
        if time.monotonic() - received < TWIST_AGE_S and not self.frozen:
            self.pose[:3] += twist[:3] * self._period_s
            self.pose[3:] = rotated(self.pose[3:], twist[3:] * self._period_s)
        if self.silent:
            return
        now_ns = self.node.get_clock().now().nanoseconds
        fill_pose(self._pose_message, now_ns, self.pose)
        self._pose_message.header.frame_id = self.frame_id
        self._poses.publish(self._pose_message)
        fill_joints(self._finger_message, now_ns, np.full(2, self.width / 2))
        self._fingers.publish(self._finger_message)
        force = self._wrench_message.wrench.force
        force.x, force.y, force.z = self.force.tolist()
        self._wrench_message.header.stamp = self._pose_message.header.stamp
        self._wrenches.publish(self._wrench_message)
        if not self.silent_joints:
            fill_joints(self._arm_message, now_ns, self.joints)
            self._arm.publish(self._arm_message)
