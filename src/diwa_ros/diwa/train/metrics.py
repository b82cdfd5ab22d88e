# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Figures over the steps of a stage: `metrics.jsonl` for us, TensorBoard events for people.

One line is `{"step": ..., "time": <unix seconds>, "<name>": <number, list of numbers or null>}`;
null stands for a number that is not finite.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from diwa.files import write_text
from diwa.train.meter import plain

FILE_NAME = "metrics.jsonl"


class MetricsLog:
    """Appends figures to a stage's folder. Lines are flushed one by one.

    A stage that starts or resumes calls `resume(step)` with the last step that its state holds
    (-1: none), so that nothing it will do again stands twice.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tensorboard: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = directory / FILE_NAME
        self._tensorboard = tensorboard
        self._clock = clock
        self._stream: TextIO | None = None
        self._events: Any = None
        self._purge_step: int | None = None

    def log(self, step: int, **values: Any) -> None:
        """Write the figures of one step.

        Args:
            step: environment, gradient or iteration count of the stage; never decreasing.
            values: numbers, or vectors of numbers (one per denoising step, say); tensors too.
        """
        figures: dict[str, Any] = plain(values)
        line = json.dumps({"step": int(step), "time": self._clock(), **figures}, allow_nan=False)
        if self._stream is None:
            self._open()
        assert self._stream is not None
        self._stream.write(line + "\n")
        self._stream.flush()
        if self._tensorboard:
            self._log_events(step, figures)

    def resume(self, step: int) -> None:
        """Drop everything beyond `step`, and a line that a crash left unfinished."""
        self.close()
        self._purge_step = step + 1
        if not self.path.exists():
            return
        kept = [row for row in read_metrics(self.path) if row["step"] <= step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def close(self) -> None:
        """Flush and close the files; a later `log` opens them again."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._events is not None:
            self._events.close()
            self._events = None

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        if text and not text.endswith("\n"):  # a crash cut the last line
            write_text(self.path, text[: text.rfind("\n") + 1])
        self._stream = self.path.open("a", encoding="utf-8")

    def _log_events(self, step: int, figures: dict[str, Any]) -> None:
        if self._events is None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self._events = SummaryWriter(str(self.path.parent), purge_step=self._purge_step)
            self._purge_step = None
        for name, number in _scalars(figures):
            self._events.add_scalar(name, number, step)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete lines of a `metrics.jsonl`, in order; a missing file has none."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # cut by a crash
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def _scalars(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, list):
            for index, number in enumerate(value):
                yield f"{name}/{index}", math.nan if number is None else number
        else:
            yield name, math.nan if value is None else value
