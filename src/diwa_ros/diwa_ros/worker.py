# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One thread that runs jobs in order, so that an executor never waits for a model."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any

JOIN_TIMEOUT_S = 10.0
_Job = tuple[Callable[..., None], tuple[Any, ...]]


class Worker:
    """Runs what it is given, one after the other.

    Args:
        on_error: called in the thread with the traceback of a job that failed.
    """

    def __init__(self, on_error: Callable[[str], None]) -> None:
        self._on_error = on_error
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[..., None], *arguments: Any) -> None:
        """Run `job(*arguments)` after those before it."""
        self._jobs.put((job, arguments))

    def stop(self) -> None:
        """End the thread after the jobs it has; waits for it."""
        self._jobs.put(None)
        self._thread.join(JOIN_TIMEOUT_S)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, arguments = item
            try:
                job(*arguments)
            except Exception:  # whatever a model raises must stop the skill, not this thread
                self._on_error(traceback.format_exc())
