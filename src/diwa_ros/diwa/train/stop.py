# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stopping a long job from outside: Ctrl-C or a termination signal sets a flag, nothing else.

The job looks at the flag between two units of work, saves, and raises `Interrupted`. A second
signal changes nothing, so it cannot cut a file in half.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130  # what a command returns after `Interrupted`
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(RuntimeError):
    """The job was asked to stop, has saved its state, and can be resumed."""


class StopFlag:
    """Set once; looked at often. Safe to set from a signal handler or another thread."""

    def __init__(self) -> None:
        self.reason = ""

    def __bool__(self) -> bool:
        return bool(self.reason)

    def set(self, reason: str) -> None:
        """Ask the job to stop. The first reason stays."""
        self.reason = self.reason or reason

    def check(self) -> None:
        """Raise `Interrupted` when asked to stop: for jobs with nothing to save."""
        if self.reason:
            raise Interrupted(self.reason)


@contextmanager
def stop_on_signals(stop: StopFlag) -> Iterator[StopFlag]:
    """Turn SIGINT, SIGTERM and SIGHUP into `stop.set()` for the duration of the block.

    Only the main thread can do that; in other threads the block runs unchanged. A signal that was
    ignored before (`nohup`) stays ignored.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        again = bool(stop)
        stop.set(signal.Signals(number).name)
        # os.write: a handler must not touch streams that the interrupted code may be writing to
        os.write(2, _NOTICE_AGAIN if again else _NOTICE_FIRST)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {
        number: signal.signal(number, on_signal)
        for number in SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


_NOTICE_FIRST = b"\nstopping: saving what is there ...\n"
_NOTICE_AGAIN = b"still saving; Ctrl-\\ ends at once and loses the work since the last save\n"
