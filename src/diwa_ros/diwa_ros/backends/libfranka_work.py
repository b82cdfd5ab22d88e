# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What takes time with an arm, done one after the other in a thread of its own."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError

from diwa_ros.backends.base import Job
from diwa_ros.backends.libfranka_link import in_words
from diwa_ros.worker import Worker

Work = Callable[[Job], str]  # says what went wrong


class Works:
    """Turns work into jobs.

    Args:
        errors: exceptions that are answers of the arm; all others are bugs.
        on_bug: told the traceback of those.
    """

    def __init__(self, errors: tuple[type[Exception], ...], on_bug: Callable[[str], None]) -> None:
        self._errors = errors
        self._on_bug = on_bug
        self._worker = Worker(on_bug)

    def submit(self, work: Work) -> Job:
        """Do it after what was submitted before."""
        job: Job = Future()
        self._worker.submit(self._do, work, job)
        return job

    def stop(self) -> None:
        """End the thread after what it has to do; waits for it."""
        self._worker.stop()

    def _do(self, work: Work, job: Job) -> None:
        try:
            problem = work(job)
        except self._errors as error:
            problem = in_words(error)
        except Exception:  # a bug here must reach the bridge as a failure, not as silence
            problem = traceback.format_exc()
            self._on_bug(problem)
        with contextlib.suppress(InvalidStateError):  # it was cancelled
            job.set_result(problem)
