# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The learning stages as a child process: progress lines in, one exit code out.

Training is a process of its own so that it cannot take the node down with it, is killed for
certain when it must be, and is the same program that people run by hand.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from diwa_ros.processes import node_environment

LOG_NAME = "trainer.log"
TAIL = 2000  # characters of the log that explain a failure


class TrainingProcess:
    """One child.

    Args:
        arguments: of `python -m diwa.cli train`.
        run_path: run folder; the child's error output is appended to a log in it.
        on_progress: called with every progress object, from a thread.
        on_exit: called with the exit code, once, from that thread.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        run_path: Path,
        on_progress: Callable[[dict[str, Any]], None],
        on_exit: Callable[[int], None],
    ) -> None:
        run_path.mkdir(parents=True, exist_ok=True)
        self.log_path = run_path / LOG_NAME
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._kill_at: float | None = None
        command = [sys.executable, "-m", "diwa.cli", "train", *arguments, "--progress", "json"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                env=node_environment(run_path),
            )
        self._thread = threading.Thread(
            target=self._read, args=(on_progress, on_exit), name="training", daemon=True
        )
        self._thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._kill_at is not None

    def stop(self, patience_s: float) -> None:
        """Ask it to save and end; `enforce` kills it after `patience_s`."""
        if self._kill_at is None and self._process.poll() is None:
            self._kill_at = time.monotonic() + patience_s
            self._process.send_signal(signal.SIGTERM)

    def enforce(self) -> None:
        """Kill it when it was asked to stop and did not; called now and then."""
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self._kill_group()

    def close(self, patience_s: float) -> None:
        """Stop it and wait until it is gone."""
        self.stop(patience_s)
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._kill_group()
        self._process.wait()

    def log_tail(self) -> str:
        """The end of what this child wrote to the log."""
        with self.log_path.open("rb") as stream:
            stream.seek(self._log_start)
            return stream.read().decode("utf-8", "replace").strip()[-TAIL:]

    def _kill_group(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _read(
        self, on_progress: Callable[[dict[str, Any]], None], on_exit: Callable[[int], None]
    ) -> None:
        assert self._process.stdout is not None, "opened as a pipe"
        for line in self._process.stdout:
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                continue  # something else that was printed
            if isinstance(value, dict):
                on_progress(value)
        on_exit(self._process.wait())
