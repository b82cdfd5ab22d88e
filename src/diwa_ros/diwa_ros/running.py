# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Running one node as a process: start, spin, and an end that signals cannot spoil.

On SIGINT and SIGTERM rclpy shuts its context down, and spinning then ends between two callbacks.
Python's own answer to SIGINT, a KeyboardInterrupt wherever the program is, would come on top: in
the middle of a write to a bag, or (Ctrl-C under a launch file arrives twice) during the cleaning
up. So it is turned off, and either signal is an orderly end with exit code 0.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node

from diwa.errors import ConfigError
from diwa_ros.lifecycle import LifecycleNode

NodeType = TypeVar("NodeType", bound=Node)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_node(
    make_node: Callable[[], NodeType],
    work: Callable[[NodeType, SingleThreadedExecutor], int] | None = None,
) -> int:
    """Make a node and spin it until it is told to stop.

    Args:
        make_node: called once rclpy is initialised.
        work: instead of spinning for ever, do this; its result is the exit code.

    Returns:
        Exit code: 0 after an orderly end or a signal, 2 after a `ConfigError`.
    """
    for number in SIGNALS:
        signal.signal(number, _leave_it_to_rclpy)
    rclpy.init(args=sys.argv)
    node: NodeType | None = None
    try:
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if isinstance(node, LifecycleNode) and node.autostart:
            node.bring_up()
        if work is not None:
            return work(node, executor)
        executor.spin()
    except ExternalShutdownException:
        return 0
    except ConfigError as error:
        if not rclpy.ok():
            return 0  # a signal came while the node was brought up
        get_logger("diwa").fatal(str(error))
        return 2
    except Exception:
        if rclpy.ok():
            raise
        return 0  # what fails after a signal has shut rclpy down fails because of that
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        for number in SIGNALS:  # the interpreter puts other handlers back to deadly ones at its end
            signal.signal(number, signal.SIG_IGN)
    return 0


def _leave_it_to_rclpy(number: int, frame: FrameType | None) -> None:
    """Do nothing: rclpy's handler, which called this one, has shut the context down."""
