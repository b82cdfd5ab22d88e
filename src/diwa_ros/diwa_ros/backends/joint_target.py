# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Backend: joint positions on a topic, for a joint impedance controller.

Like `pose_target` in all else: the poses of the targets are turned into joints on their way out.
"""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import JointState

from diwa.control.joint_follower import JointFollower
from diwa.control.joint_solution import load_solution
from diwa.control.targets import Target
from diwa_ros.arm_conversions import fill_joint_target
from diwa_ros.backends.base import Setup
from diwa_ros.backends.pose_target import PoseTarget, Sender
from diwa_ros.backends.presets import Preset, TargetTopic, load_preset
from diwa_ros.conversions import make_joints


class JointTarget(PoseTarget):
    """Publishes the joints of every target; see `diwa_ros.backends.base.Backend`.

    Args:
        setup: node, limits and contract.
        preset: names of topics and actions, with the arm's name filled in.
    """

    name = "joint_target"
    kinds = ("joints",)

    def __init__(self, setup: Setup, preset: Preset) -> None:
        super().__init__(setup, preset)
        self._names = preset.state.joint_names
        solution = load_solution(setup.limits)
        self._follower = JointFollower(setup.limits, 1.0 / setup.command_rate_hz, solution)
        self._seeded = False

    def start(self, pose: np.ndarray) -> None:
        """Begin where the joints are, which must be known: see `problems`."""
        state = self.measured
        self._seeded = state is not None and state.joints is not None
        if state is not None and state.joints is not None:
            self._follower.seed(state.joints, pose)

    def problems(self) -> list[str]:
        """Those of any target topic, and unknown joints."""
        found = super().problems()
        if self.measured is not None and self.measured.joints is None:
            found.append(
                f"joints {self._names[0]} and on are not among the joint states: correct "
                "state.joints or state.joint_names in the preset"
            )
        return found

    def advertise(self, topic: TargetTopic) -> Sender:
        """Create the publisher; returns what publishes a target."""
        publisher = self.target_publisher(JointState, topic)
        message = make_joints(self._names)
        message.header.frame_id = topic.frame_id

        def send(target: Target, stamp_ns: int) -> None:
            if self._seeded:
                joints = self._follower.follow(target.pose)
                fill_joint_target(message, stamp_ns, joints.positions, joints.velocities)
                publisher.publish(message)

        return send


def make(setup: Setup) -> JointTarget:
    """The backend, with the preset that the setup names."""
    return JointTarget(setup, load_preset(setup.preset, setup.limits.name))
