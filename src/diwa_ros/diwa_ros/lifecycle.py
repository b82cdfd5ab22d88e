# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Base of the nodes that own a model or a recording: transitions that never fail in silence.

rclpy swallows exceptions in transition callbacks. Here they are logged with their traceback, and
the node is left stopped and released.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable

import rclpy.lifecycle
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.node import Node

from diwa.errors import ConfigError
from diwa_ros.parameters import declare

Hook = Callable[[], None]
SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR
CONFIGURE, ACTIVATE = "configure", "activate"


class LifecycleNode(rclpy.lifecycle.LifecycleNode):
    """Lifecycle node with four hooks.

    Subclasses override `load` (configure), `start` (activate), `stop` (deactivate: bring everything
    to a safe halt) and `release` (cleanup). `stop` and `release` must be harmless in any state;
    they are also called when the node is destroyed.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.autostart = declare(
            self, "autostart", True, "configure and activate at the start, without a manager"
        )

    def load(self) -> None:
        """Acquire what the node needs."""

    def start(self) -> None:
        """Begin to work."""

    def stop(self) -> None:
        """Stop safely; harmless when nothing runs."""

    def release(self) -> None:
        """Let go of everything; harmless when nothing is held."""

    def bring_up(self) -> None:
        """Configure and activate; raises `ConfigError` when that fails (the cause is logged)."""
        for transition in (self.trigger_configure, self.trigger_activate):
            if transition() is not SUCCESS:
                raise ConfigError(
                    f"node {self.get_name()} did not start", hint="see its log for the cause"
                )

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `load`; release again when it fails."""
        if self._attempt(CONFIGURE, self.load):
            return SUCCESS
        self._attempt("release", self.release)
        return FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enable the publishers, then run `start`; stop again when it fails."""
        super().on_activate(state)
        if self._attempt(ACTIVATE, self.start):
            return SUCCESS
        self._attempt("stop", self.stop)
        super().on_deactivate(state)
        return FAILURE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `stop` while the publishers still work, then disable them."""
        stopped = self._attempt("deactivate", self.stop)
        super().on_deactivate(state)
        return SUCCESS if stopped else ERROR

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run `release`."""
        return SUCCESS if self._attempt("clean up", self.release) else ERROR

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release from any state."""
        return SUCCESS if self._halt() else ERROR

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release; the node can be configured again if that worked."""
        return SUCCESS if self._halt() else FAILURE

    def destroy_node(self) -> None:
        """Stop, release and destroy."""
        self._halt()
        super().destroy_node()

    def _halt(self) -> bool:
        stopped = self._attempt("stop", self.stop)
        return self._attempt("release", self.release) and stopped

    def _attempt(self, what: str, hook: Hook) -> bool:
        try:
            hook()
        except ConfigError as error:
            lasting_logger(self).error(f"cannot {what}: {error}")
        except Exception as error:  # any failure of a hook must end in a safe state, and be seen
            if what in (CONFIGURE, ACTIVATE) and not self.context.ok():
                # A signal came meanwhile, and nothing can be made any more.
                lasting_logger(self).info(f"told to stop before it could {what}: {error}")
            else:
                lasting_logger(self).error(f"cannot {what}:\n{traceback.format_exc()}")
        else:
            return True
        return False


def lasting_logger(node: Node) -> RcutilsLogger:
    """The node's logger, or one that still works once rclpy was shut down by a signal."""
    return node.get_logger() if node.context.ok() else get_logger("diwa")
