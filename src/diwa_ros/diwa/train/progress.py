# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How far a long job is, with the time left: a bar, plain lines, JSON lines or nothing.

A job calls `start(name, total)`, then `advance` once or many times, then `finish`. What it looks
like is the business of the object that it was handed; the job cannot tell them apart.
"""

from __future__ import annotations

import json
import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import IO, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichBars

from diwa.errors import ConfigError
from diwa.train.meter import Meter, finite_or_none, format_metrics, format_seconds

Clock = Callable[[], float]
PROGRESS_KINDS = ("auto", "plain", "json", "none")


class Progress(Protocol):
    """What a stage may call. `done` in `start` is what an earlier, interrupted part did."""

    def stage(self, name: str, index: int, count: int) -> None:
        """The run enters stage `index` (from 0) of `count`."""

    def start(self, name: str, total: int, done: int = 0) -> None:
        """A job of `total` units begins, `done` of them finished earlier."""

    def advance(self, n: int = 1, **metrics: float) -> None:
        """`n` more units are finished; `metrics` are the newest figures worth showing."""

    def finish(self) -> None:
        """The job has ended, complete or not. Harmless when nothing runs."""

    def message(self, text: str) -> None:
        """One line for a person."""


class NullProgress:
    """Shows nothing."""

    def stage(self, name: str, index: int, count: int) -> None:
        """Show nothing."""

    def start(self, name: str, total: int, done: int = 0) -> None:
        """Show nothing."""

    def advance(self, n: int = 1, **metrics: float) -> None:
        """Show nothing."""

    def finish(self) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Show nothing."""


class _LineProgress(ABC):
    """Counts a job and shows it as lines, at most one every `interval` seconds."""

    def __init__(self, stream: IO[str], interval: float, clock: Clock) -> None:
        self._stream = stream
        self._interval = interval
        self._clock = clock
        self._meter: Meter | None = None
        self._metrics: dict[str, float] = {}
        self._shown_at = -math.inf
        self._closed = False

    def start(self, name: str, total: int, done: int = 0) -> None:
        """Begin a job and show it."""
        self.finish()
        self._meter = Meter(name, total, done, self._clock())
        self._metrics = {}
        self._show_now("start", self._meter)

    def advance(self, n: int = 1, **metrics: float) -> None:
        """Count, and show a line when one is due."""
        if self._meter is None:
            return
        self._meter.done += n
        self._metrics.update(metrics)
        if self._clock() - self._shown_at >= self._interval:
            self._show_now("progress", self._meter)

    def finish(self) -> None:
        """Show the last state, once."""
        meter, self._meter = self._meter, None
        if meter is not None:
            self._show_now("finish", meter)

    def _show_now(self, event: str, meter: Meter) -> None:
        self._shown_at = self._clock()
        self._show(event, meter, self._shown_at)

    @abstractmethod
    def _show(self, event: str, meter: Meter, now: float) -> None:
        """Write the line for this state."""

    def _write(self, line: str) -> None:
        if self._closed:
            return
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self._closed = True  # nobody reads any more: work on in silence


class PlainProgress(_LineProgress):
    """Lines of text, for log files and pipes."""

    def __init__(
        self,
        stream: IO[str] | None = None,
        *,
        interval: float = 5.0,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(stream if stream is not None else sys.stderr, interval, clock)
        self._last_done = -1

    def stage(self, name: str, index: int, count: int) -> None:
        """Announce a stage."""
        self.message(f"stage {index + 1}/{count}: {name}")

    def message(self, text: str) -> None:
        """Print one line."""
        self._write(text)

    def _show(self, event: str, meter: Meter, now: float) -> None:
        if event == "finish" and meter.done == self._last_done:
            return  # said before
        self._last_done = meter.done
        parts = [f"{meter.name}: {meter.done}/{meter.total} ({meter.fraction:.0%})"]
        left = meter.remaining(now)
        if left and event != "finish":
            parts.append(f"{format_seconds(left)} left")
        if self._metrics:
            parts.append(format_metrics(self._metrics))
        self._write("  ".join(parts))


class JsonProgress(_LineProgress):
    """One JSON object per line, for a parent process.

    Every line has `event` (stage, start, progress, finish or message), `stage`, `stage_index` and
    `stages`; start, progress and finish add `name`, `done`, `total`, `progress` in [0, 1],
    `remaining_s` (seconds or null) and `metrics`; message adds `text`.
    """

    def __init__(
        self,
        stream: IO[str] | None = None,
        *,
        interval: float = 0.5,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(stream if stream is not None else sys.stdout, interval, clock)
        self._stage: dict[str, object] = {"stage": "", "stage_index": 0, "stages": 0}

    def stage(self, name: str, index: int, count: int) -> None:
        """Report a stage."""
        self._stage = {"stage": name, "stage_index": index, "stages": count}
        self._write_event("stage")

    def message(self, text: str) -> None:
        """Report one line for a person."""
        self._write_event("message", text=text)

    def _show(self, event: str, meter: Meter, now: float) -> None:
        self._write_event(
            event,
            name=meter.name,
            done=meter.done,
            total=meter.total,
            progress=meter.fraction,
            remaining_s=meter.remaining(now),
            metrics={key: finite_or_none(value) for key, value in self._metrics.items()},
        )

    def _write_event(self, event: str, **fields: object) -> None:
        self._write(json.dumps({"event": event, **self._stage, **fields}, allow_nan=False))


class RichProgress(PlainProgress):
    """A bar with the time left on a terminal; plain lines where there is none."""

    def __init__(
        self,
        console: Console | None = None,
        *,
        interval: float = 5.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._console = console if console is not None else Console(stderr=True)
        super().__init__(self._console.file, interval=interval, clock=clock)
        self._bars: RichBars | None = None

    def start(self, name: str, total: int, done: int = 0) -> None:
        """Begin a job: a new bar."""
        if not self._console.is_terminal:
            super().start(name, total, done)
            return
        self.finish()
        self._bars = RichBars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("[dim]{task.fields[metrics]}"),
            console=self._console,
        )
        self._bars.add_task(name, total=total, completed=done, metrics="")
        self._bars.start()

    def advance(self, n: int = 1, **metrics: float) -> None:
        """Move the bar."""
        if self._bars is None:
            super().advance(n, **metrics)
            return
        task = self._bars.task_ids[0]
        if metrics:
            self._bars.update(task, advance=n, metrics=format_metrics(metrics))
        else:
            self._bars.update(task, advance=n)

    def finish(self) -> None:
        """Leave the bar as it is and give the terminal back."""
        if self._bars is None:
            super().finish()
            return
        bars, self._bars = self._bars, None
        bars.stop()

    def message(self, text: str) -> None:
        """Print one line, above the bar where there is one."""
        if self._console.is_terminal:
            self._console.print(text, markup=False, highlight=False)
        else:
            super().message(text)


def make_progress(kind: str = "auto") -> Progress:
    """A display by name: auto (bar or lines, on stderr), plain, json (on stdout) or none."""
    if kind == "auto":
        return RichProgress()
    if kind == "plain":
        return PlainProgress()
    if kind == "json":
        return JsonProgress()
    if kind == "none":
        return NullProgress()
    raise ConfigError("progress", got=kind, expected=" or ".join(PROGRESS_KINDS))
