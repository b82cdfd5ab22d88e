# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How a bridge to an arm behaves, and what it waits for. No ROS in here."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import NamedTuple

import numpy as np

from diwa_ros.backends.base import Job


class Rules(NamedTuple):
    """How a session behaves."""

    hold_after_s: float = 0.15  # without actions: says so
    stop_after_s: float = 1.0  # without actions of a policy, or without states: stops
    settle_s: float = 0.5  # the gate must be free for so long
    chunk_age_s: float = 1.0  # chunks of older observations are discarded
    first_speed: float = 0.25  # of a checkpoint that nobody has confirmed
    fade_steps: int = 0
    most_bad: int = 3  # chunks that do not fit, or actions that are no numbers, in a row: stops
    require_enable: bool = False
    start_poses: np.ndarray | None = None  # (N, 7), of the dataset's episodes


class Streak:
    """Counts what happens again and again, with nothing better in between.

    Args:
        limit: how often is too often.

    Attributes:
        length: so far.
    """

    def __init__(self, limit: int) -> None:
        self.length = 0
        self._limit = limit

    def push(self) -> bool:
        """It happened; whether that was too often."""
        self.length += 1
        return self.length >= self._limit

    def end(self) -> None:
        """Something better happened."""
        self.length = 0


class RunningJob:
    """A job of the backend that must not take for ever.

    Args:
        job: as the backend returned it.
        ends_s: when it is late [s].
    """

    def __init__(self, job: Job, ends_s: float) -> None:
        self._job = job
        self._ends_s = ends_s

    def outcome(self, now_s: float) -> str | None:
        """Empty when it has worked, else what went wrong; None while it runs."""
        if not self._job.done():
            return "it takes too long" if now_s > self._ends_s else None
        try:
            return self._job.result()
        except CancelledError:
            return "it was given up"
        except Exception as error:  # whatever a backend runs into is a failed job
            return str(error) or type(error).__name__

    def give_up(self) -> bool:
        """End it; whether it was still running."""
        running = not self._job.done()
        if running:
            self._job.cancel()
        return running
