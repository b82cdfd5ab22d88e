# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Reports for `/diagnostics`: one status per node, and one per part of it, by its own timer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from diwa_ros import qos

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
PERIOD_S = 1.0


class Report(NamedTuple):
    """How a node is: `level` OK, WARN or ERROR, one line of text, and figures."""

    level: bytes
    message: str
    values: Mapping[str, object]


class Diagnostics:
    """Publishes what `report` returns once a second.

    Args:
        node: whose name the status carries.
        report: called by the timer.
        parts: likewise; reports of parts of the node, whose names follow the node's.
    """

    def __init__(
        self,
        node: Node,
        report: Callable[[], Report],
        parts: Callable[[], Mapping[str, Report]] | None = None,
    ) -> None:
        self._node = node
        self._report = report
        self._parts = parts
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._timer = node.create_timer(PERIOD_S, self._publish)

    def _publish(self) -> None:
        name = self._node.get_fully_qualified_name().lstrip("/")
        statuses = [_status(name, self._report())]
        if self._parts is not None:
            statuses += [_status(f"{name}: {part}", it) for part, it in self._parts().items()]
        array = DiagnosticArray(status=statuses)
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)


def _status(name: str, report: Report) -> DiagnosticStatus:
    values = [KeyValue(key=key, value=_text(value)) for key, value in report.values.items()]
    return DiagnosticStatus(level=report.level, name=name, message=report.message, values=values)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
