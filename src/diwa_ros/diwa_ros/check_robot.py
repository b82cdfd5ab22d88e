# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa check-robot`: listens to the robot for a few seconds; what is wrong, and what to do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rich.console import Console
from rich.table import Table
from rich.text import Text

from diwa.data.contract import Contract
from diwa.data.disk_check import check_disk
from diwa.data.robot_check import Row
from diwa_ros.robot_probe import ListeningProbe

APPEAR_S = 3.0  # for publishers to be found and to send something
TICK_S = 0.1
MARKS = {
    "ok": Text("ok", "green"),
    "unsure": Text("?", "yellow"),
    "wrong": Text("WRONG", "bold red"),
}


def check_robot(contract: Contract, folder: Path, seconds: float, namespace: str = "") -> list[Row]:
    """Listen, and judge what was heard and the disk.

    Args:
        contract: what should be there.
        folder: where the bags would go.
        seconds: how long to listen, once something comes from every topic or some time has passed.
        namespace: of the robot.
    """
    context = rclpy.Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("check_robot", context=context, namespace=namespace or None)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        first = ListeningProbe(node, contract)
        _spin(executor, APPEAR_S, first)
        first.close()
        probe = ListeningProbe(node, contract)
        _spin(executor, seconds)
        rows = probe.rows()
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    return [*rows, *check_disk(contract, folder)]


def _spin(
    executor: SingleThreadedExecutor, seconds: float, until: ListeningProbe | None = None
) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (until is not None and until.complete):
        executor.spin_once(timeout_sec=TICK_S)


def draw_rows(rows: Sequence[Row], console: Console) -> None:
    """The result as a table, things that are wrong first."""
    order = ("wrong", "unsure", "ok")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "what", "found", "what to do"):
        table.add_column(title, overflow="fold")
    for row in sorted(rows, key=lambda row: order.index(row.level)):
        table.add_row(MARKS[row.level], row.subject, row.found, row.todo)
    console.print(table)
