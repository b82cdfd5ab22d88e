# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The robot's contract on a topic: a bridge publishes it once, a policy server compares."""

from __future__ import annotations

import yaml
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import String

from diwa.config import parse_config
from diwa.data.contract import Contract
from diwa.errors import ConfigError
from diwa_ros import qos

TOPIC = "robot_contract"


def publish_contract(node: Node, contract: Contract) -> Publisher:
    """Publish `contract`, also for those who come later; keep the publisher for as long."""
    publisher: Publisher = node.create_publisher(String, TOPIC, qos.LATCHED)
    publisher.publish(String(data=contract.to_yaml()))
    return publisher


def read_contract(message: String) -> Contract:
    """The contract of a message; `ConfigError` where it is none."""
    try:
        raw = yaml.safe_load(message.data)
    except yaml.YAMLError as error:
        raise ConfigError(f"topic {TOPIC}: not valid YAML", got=error) from error
    return parse_config(Contract, raw, f"topic {TOPIC}")


class ContractWatcher:
    """Knows the contract of the robot that is there.

    Args:
        node: to listen with.

    Attributes:
        contract: as published last; None where no bridge has published one that can be read.
        problem: why what was published cannot be read; empty where it can.
    """

    def __init__(self, node: Node) -> None:
        self.contract: Contract | None = None
        self.problem = ""
        self._node = node
        self._subscription = node.create_subscription(String, TOPIC, self._on_contract, qos.LATCHED)

    def difference(self, mine: Contract, name: str) -> str:
        """How the robot's contract differs from `mine`, called `name`; empty where it does not.

        Empty as well where no bridge has published one: who asks may want to wait for it.
        """
        if self.problem or self.contract is None:
            return self.problem
        try:
            mine.require_same(self.contract, name, "the robot")
        except ConfigError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Listen no longer."""
        self._node.destroy_subscription(self._subscription)

    def _on_contract(self, message: String) -> None:
        try:
            self.contract, self.problem = read_contract(message), ""
        except ConfigError as error:
            self.contract, self.problem = None, str(error)
