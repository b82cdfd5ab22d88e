# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What an arm's bridge publishes in every control period, all with one stamp."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from diwa_msgs.msg import ExecutedAction
from rclpy.node import Node

from diwa.control.arm import ArmState
from diwa.data.contract import Contract, Stream
from diwa.errors import ConfigError
from diwa_ros import qos
from diwa_ros.conversions import fill_executed, fill_joints, fill_pose, make_joints, make_pose
from diwa_ros.robot_contract import publish_contract
from diwa_ros.table import Executed

Sender = Callable[[ArmState, float, int], None]
ARM_JOINTS, FINGERS = 7, 2


class ArmPublisher:
    """Publishers for pose and joints, executed actions and the contract; messages are reused.

    Images come from the cameras' own drivers.

    Args:
        node: to publish from.
        contract: names topics and frames.
    """

    def __init__(self, node: Node, contract: Contract) -> None:
        topic = contract.require_action_topic("the bridge")
        self._node = node
        self._publishers = [node.create_publisher(ExecutedAction, topic, qos.OBSERVATION)]
        self._executed = ExecutedAction()
        self._senders = [
            sender
            for stream in contract.observations.values()
            if (sender := self._sender(stream, contract)) is not None
        ]
        self._publishers.append(publish_contract(node, contract))

    def observation(self, state: ArmState, commanded_m: float, stamp_ns: int) -> None:
        """Publish a state; where the gripper does not tell its width [m], the commanded one."""
        for send in self._senders:
            send(state, commanded_m, stamp_ns)

    def executed(self, executed: Executed, epoch: int) -> None:
        """Publish what was done in a control step."""
        fill_executed(self._executed, executed, epoch)
        self._publishers[0].publish(self._executed)

    def close(self) -> None:
        """Publish no longer."""
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    def _sender(self, stream: Stream, contract: Contract) -> Sender | None:
        makers = {"pose": self._pose_sender, "joints": self._joint_sender}
        if stream.kind == "image":
            return None
        if stream.kind not in makers:
            raise ConfigError(
                f"contract {contract.name}: a stream of kind {stream.kind}",
                expected="pose, joints and images: nobody knows the scene of a real arm",
            )
        return makers[stream.kind](stream)

    def _pose_sender(self, stream: Stream) -> Sender:
        message = make_pose(stream.frame_id)
        publisher = self._node.create_publisher(type(message), stream.topic, qos.OBSERVATION)
        self._publishers.append(publisher)

        def send(state: ArmState, commanded_m: float, stamp_ns: int) -> None:
            fill_pose(message, stamp_ns, state.pose)
            publisher.publish(message)

        return send

    def _joint_sender(self, stream: Stream) -> Sender:
        fingers = len(stream.names) - ARM_JOINTS
        if fingers not in (0, FINGERS):
            raise ConfigError(
                f"topic {stream.topic}: {len(stream.names)} joints in the contract",
                expected="seven of the arm, and two fingers or none",
            )
        message = make_joints(stream.names)
        publisher = self._node.create_publisher(type(message), stream.topic, qos.OBSERVATION)
        self._publishers.append(publisher)

        def send(state: ArmState, commanded_m: float, stamp_ns: int) -> None:
            if state.joints is None:
                return
            width = commanded_m if state.gripper_width is None else state.gripper_width
            positions = np.concatenate([state.joints, [width / 2] * fingers])
            fill_joints(message, stamp_ns, positions)
            publisher.publish(message)

        return send
