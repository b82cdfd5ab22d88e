# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Topics `estop` and `enable`, heard from every kind of publisher.

DDS delivers nothing where a subscriber asks for more than the publisher offers. Somebody who stops
an arm in a hurry must not have to think of that: `ros2 topic pub` is volatile by default, and many
drivers of buttons are best effort. So both topics are subscribed to in the least demanding way, and
`estop` once more while there is a publisher that keeps its last word for those who come late.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.subscription import Subscription
from std_msgs.msg import Bool

from diwa_ros import qos

LOOK_PERIOD_S = 0.2


class StopInputs:
    """Subscriptions to `estop` and `enable`.

    Args:
        node: to subscribe with.
        on_estop: called for every message on `estop`, perhaps twice for the same one.
        on_enable: called for every message on `enable`.
    """

    def __init__(
        self, node: Node, on_estop: Callable[[Bool], None], on_enable: Callable[[Bool], None]
    ) -> None:
        self._node = node
        self._on_estop = on_estop
        self._kept: Subscription | None = None
        node.create_subscription(Bool, "estop", on_estop, qos_profile_sensor_data)
        node.create_subscription(Bool, "enable", on_enable, qos_profile_sensor_data)
        node.create_timer(LOOK_PERIOD_S, self._look)

    def _look(self) -> None:
        offered = any(
            info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            and info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
            for info in self._node.get_publishers_info_by_topic("estop")
        )
        if offered and self._kept is None:
            self._kept = self._node.create_subscription(Bool, "estop", self._on_estop, qos.LATCHED)
        elif self._kept is not None and not offered:
            self._node.destroy_subscription(self._kept)
            self._kept = None
