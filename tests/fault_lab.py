# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A lab that can break: an arm with its controller, a camera, an emergency stop, a switch.

Everything that the arm is told is checked against the limits, all the time.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float64MultiArray

from diwa.control.poses import angle_between, make_pose, quaternion_from_euler
from diwa.control.robots import RobotLimits
from diwa.data.contract import Contract
from diwa_ros import qos
from diwa_ros.conversions import fill_pose, set_stamp

START = make_pose(np.array([0.45, 0.0, 0.4]), quaternion_from_euler(np.array([np.pi, 0.0, 0.0])))
JOINTS = [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785]
NAMES = [f"fr3_joint{index}" for index in range(1, 8)]
ARM_HZ, CAMERA_HZ, SWITCH_HZ = 60.0, 30.0, 20.0
FOLLOW = 0.3  # share of the way to the target that the arm goes in one of its steps
STALL_S = 0.12  # half of what the most impatient guard allows
GAP_S = 0.2  # commands that are farther apart belong to different streams
Filter = Callable[[Any], Any]


class Command(NamedTuple):
    """A target as it arrived."""

    at_s: float  # monotonic
    stamp_s: float  # that it is meant for
    pose: np.ndarray


class Lab:
    """Publishes what a lab publishes at 30 and 60 Hz, in a thread of its own.

    Attributes:
        filters: by "pose", "joints", "wrench", "camera", "enable": changes a message before it is
            published; None instead of a message: it is not.
        force: on the TCP [N].
        sway: how far the measured arm swings about where it was sent [m].
        commands: every target.
        violations: what was wrong with them, in words.
        checks_leash: whether a target must be near the measured pose.
        stalls: how often this machine was so busy that the lab fell silent by itself.
    """

    def __init__(self, context: Any, contract: Contract, limits: RobotLimits) -> None:
        self.filters: dict[str, Filter] = {}
        self.force = self.sway = 0.0
        self.commands: list[Command] = []
        self.violations: list[str] = []
        self.checks_leash = True
        self.stalls = 0
        self._awake_s = time.monotonic()
        self._limits, self._contract = limits, contract
        self._goal = self._pose = START
        self._measured = START
        self._count = 0
        self.node = Node("lab", context=context)
        self._publishers = {
            name: self.node.create_publisher(
                kind, topic, qos.COMMAND if name == "enable" else qos_profile_sensor_data
            )
            for name, kind, topic in (
                ("pose", PoseStamped, "current_pose"),
                ("joints", JointState, "joint_states"),
                ("wrench", WrenchStamped, "wrench"),
                ("camera", Image, "cameras/static/image_raw"),
                ("enable", Bool, "enable"),
            )
        }
        self._estop = self.node.create_publisher(Bool, "estop", qos.EVENT)
        self.node.create_timer(1 / ARM_HZ, self._on_arm)
        self.node.create_timer(1 / CAMERA_HZ, self._on_camera)
        self.node.create_timer(1 / SWITCH_HZ, lambda: self._publish("enable", Bool(data=True)))
        self.controller = self.gripper = None
        self.mend()
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def mend(self) -> None:
        """Everything works again, and the arm is at its start."""
        self.filters.clear()
        self.force = self.sway = 0.0
        self.checks_leash = True
        self._goal = self._pose = START
        self.press(False)
        if self.controller is None:
            self.controller = self.node.create_subscription(
                PoseStamped, "target_pose", self._on_target, qos.reliable(100)
            )
        if self.gripper is None:
            self.gripper = self.node.create_subscription(
                Float64MultiArray, "franka_gripper/commands", lambda _: None, qos.COMMAND
            )

    def press(self, on: bool) -> None:
        """The emergency stop."""
        self._estop.publish(Bool(data=on))

    def lose(self, name: str) -> None:
        """The "controller" or the "gripper" is gone."""
        self.node.destroy_subscription(getattr(self, name))
        setattr(self, name, None)

    def jump(self, metres: float) -> None:
        """Somebody pushes the arm aside."""
        self.checks_leash = False
        self._pose = self._pose.copy()
        self._pose[1] += metres
        self._goal = self._pose.copy()
        self.filters["target"] = lambda _: None  # and keeps it there

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(10)
        self.node.destroy_node()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def _publish(self, name: str, message: Any) -> None:
        change = self.filters.get(name)
        message = message if change is None else change(message)
        if message is not None:
            self._publishers[name].publish(message)

    def _on_arm(self) -> None:
        self.stalls += time.monotonic() - self._awake_s > STALL_S
        self._awake_s = time.monotonic()
        now_ns = self.node.get_clock().now().nanoseconds
        pose = self._pose.copy()
        pose[:3] += FOLLOW * (self._goal[:3] - pose[:3])
        turn = self._goal[3:] * np.sign(float(self._goal[3:] @ pose[3:]) or 1.0)
        pose[3:] += FOLLOW * (turn - pose[3:])
        pose[3:] /= np.linalg.norm(pose[3:])
        self._pose = pose
        measured = pose.copy()
        measured[0] += self.sway * math.sin(2 * math.pi * (now_ns / 1e9) / 2.0)
        self._measured = measured
        message = PoseStamped()
        message.header.frame_id = "fr3_link0"
        fill_pose(message, now_ns, measured)
        self._publish("pose", message)
        joints = JointState(name=NAMES, position=JOINTS, velocity=[0.0] * 7)
        set_stamp(joints.header.stamp, now_ns)
        self._publish("joints", joints)
        wrench = WrenchStamped()
        set_stamp(wrench.header.stamp, now_ns)
        wrench.wrench.force.z = self.force
        self._publish("wrench", wrench)

    def _on_camera(self) -> None:
        stream = self._contract.observations["rgb_static"]
        self._count += 1
        height, width = int(stream.height), int(stream.width)
        image = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        image.header.frame_id = stream.frame_id
        set_stamp(image.header.stamp, self.node.get_clock().now().nanoseconds)
        image.data = np.full(3 * height * width, self._count % 256, dtype=np.uint8).tobytes()
        self._publish("camera", image)

    def _on_target(self, message: PoseStamped) -> None:
        p, q = message.pose.position, message.pose.orientation
        stamp_s = message.header.stamp.sec + message.header.stamp.nanosec / 1e9
        pose = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
        command = Command(time.monotonic(), stamp_s, pose)
        self.violations.extend(self.faults_of(command, message.header.frame_id))
        self.commands.append(command)
        if "target" not in self.filters:
            self._goal = pose

    def faults_of(self, command: Command, frame: str = "fr3_link0") -> list[str]:
        """What is wrong with a command: frame, numbers, workspace, tilt, leash, speed."""
        pose, motion = command.pose, self._limits.motion
        found = [] if frame == "fr3_link0" else [f"frame {frame!r}"]
        if not np.isfinite(pose).all() or abs(np.linalg.norm(pose[3:]) - 1) > 1e-3:
            return [f"no pose: {pose}"]
        box = self._contract.workspace
        if (pose[:3] < np.array(box.minimum) - 1e-3).any():
            found.append(f"outside: {pose[:3]}")
        if (pose[:3] > np.array(box.maximum) + 1e-3).any():
            found.append(f"outside: {pose[:3]}")
        if self._tilt(pose) > 1.25:
            found.append(f"tilted by {self._tilt(pose):.2f} rad")
        away = float(np.linalg.norm(pose[:3] - self._measured[:3]))
        # The bridge saw the arm up to one state_age earlier, and it may have moved since.
        slack = motion.max_speed * 2 * self._limits.guard.state_age
        if self.checks_leash and away > motion.leash_m + slack:
            found.append(f"{away:.3f} m from the arm")
        if self.commands and command.at_s - self.commands[-1].at_s < GAP_S:
            found += self._speed(self.commands[-1], command)
            earlier = next(
                (c for c in reversed(self.commands[-60:]) if command.stamp_s - c.stamp_s > 0.4),
                None,
            )
            if earlier is not None:
                found += self._speed(earlier, command)
        elif self.checks_leash and away > 0.02 + self.sway:
            found.append(f"a stream begins {away:.3f} m from the arm")
        return found

    def _speed(self, first: Command, second: Command) -> list[str]:
        """A tick may be early or late by a control period against the stamps."""
        motion, time_s = self._limits.motion, second.stamp_s - first.stamp_s + 1.2 / 30
        moved = float(np.linalg.norm(second.pose[:3] - first.pose[:3]))
        turned = float(angle_between(second.pose[3:], first.pose[3:]))
        found = []
        if moved > motion.max_speed * time_s + 1e-4:
            found.append(f"{moved:.4f} m in {time_s:.4f} s")
        if turned > motion.max_turn_rate * time_s + 1e-3:
            found.append(f"{turned:.4f} rad in {time_s:.4f} s")
        return found

    @staticmethod
    def _tilt(pose: np.ndarray) -> float:
        x, y = pose[3], pose[4]
        down = 2 * (x * x + y * y) - 1  # minus the z component of the hand's z axis
        return math.acos(float(np.clip(down, -1.0, 1.0)))
