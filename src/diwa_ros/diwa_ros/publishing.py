# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Publishing the observations of one control step, all with one stamp."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock

from diwa.data.contract import Contract, Stream
from diwa_ros import qos
from diwa_ros.conversions import (
    fill_clock,
    fill_image,
    fill_joints,
    fill_pose,
    fill_scene,
    make_image,
    make_joints,
    make_pose,
    make_scene,
    message_type,
)
from diwa_ros.table import Table

Sender = Callable[[Table], None]


class ObservationPublisher:
    """Publishers for the contract's observations and `/clock`; messages are reused.

    Args:
        node: to publish from.
        contract: names topics, types and frames.
        cameras: whether the table renders images.
    """

    def __init__(self, node: Node, contract: Contract, cameras: bool) -> None:
        self._node = node
        self._clock = Clock()
        self._clock_publisher = node.create_publisher(Clock, "/clock", qos.STATUS)
        self._senders = [
            self._sender(key, stream)
            for key, stream in contract.observations.items()
            if cameras or stream.kind != "image"
        ]

    def publish(self, table: Table) -> None:
        """Publish the table's latest observation."""
        fill_clock(self._clock, table.stamp_ns)
        self._clock_publisher.publish(self._clock)
        for send in self._senders:
            send(table)

    def _sender(self, key: str, stream: Stream) -> Sender:
        kind = message_type(stream.type)
        publisher: Publisher = self._node.create_publisher(kind, stream.topic, qos.OBSERVATION)
        pose = make_pose(stream.frame_id)
        joints = make_joints(stream.names)
        scene = make_scene()
        image = make_image(stream.frame_id, stream.encoding)

        def send_pose(table: Table) -> None:
            fill_pose(pose, table.stamp_ns, table.pose)
            publisher.publish(pose)

        def send_joints(table: Table) -> None:
            fill_joints(joints, table.stamp_ns, table.joints)
            publisher.publish(joints)

        def send_scene(table: Table) -> None:
            fill_scene(scene, table.stamp_ns, table.epoch, table.observation["scene_obs"])
            publisher.publish(scene)

        def send_image(table: Table) -> None:
            fill_image(image, table.stamp_ns, table.observation[key])
            publisher.publish(image)

        senders: dict[str, Sender] = {
            "pose": send_pose,
            "joints": send_joints,
            "scene": send_scene,
            "image": send_image,
        }
        return senders[stream.kind]
