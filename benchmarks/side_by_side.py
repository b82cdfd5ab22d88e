# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Ours and a peer's timed in turn, in one process; figures go to runs/bench.json.

Interleaved, so that a busy machine slows both alike; what counts is the median of the ratios. On
one thread the processor's time is measured, which a busy machine hardly changes.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from diwa.files import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "runs" / "bench.json"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One line of the table."""

    name: str
    ours: float
    peer: str  # who
    peer_value: float
    ratio: float  # median of ours / peer's over the rounds
    unit: str
    target: str  # what the ratio should be
    threads: int
    rounds: int

    @property
    def met(self) -> bool:
        """Whether the ratio is what it should be."""
        sign, limit = self.target.split()
        return self.ratio <= float(limit) if sign == "<=" else self.ratio >= float(limit)


def compare(
    name: str,
    ours: Callable[[], object],
    peer: str,
    theirs: Callable[[], object],
    target: str,
    *,
    rounds: int = 9,
    per_second: float = 0.0,
    unit: str = "ms",
) -> Comparison:
    """Time both in turn.

    Args:
        name: what is done.
        ours: does it.
        peer: who else does it.
        theirs: does the same.
        target: of the ratio ours / theirs, as in "<= 0.85".
        rounds: of each, after one to warm up.
        per_second: items in a call; gives rates instead of times.
        unit: of times [ms] or of rates.
    """
    ours()
    theirs()
    times: list[tuple[float, float]] = []
    for index in range(rounds):
        pair = (ours, theirs) if index % 2 else (theirs, ours)
        seconds = [_seconds(function) for function in pair]
        times.append((seconds[0], seconds[1]) if index % 2 else (seconds[1], seconds[0]))
    values = [tuple(per_second / t if per_second else 1e3 * t for t in row) for row in times]
    return Comparison(
        name,
        statistics.median(row[0] for row in values),
        peer,
        statistics.median(row[1] for row in values),
        statistics.median(row[0] / row[1] for row in values),
        unit,
        target,
        torch.get_num_threads(),
        rounds,
    )


def _seconds(function: Callable[[], object]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    function()
    return clock() - started


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep(section: str, rows: list[Comparison]) -> None:
    """Print a table and write the figures to `runs/bench.json`, in place of those before."""
    print(f"\n{section}: {platform.machine()}, PyTorch {torch.__version__}")
    print(f"{'':46}{'threads':>8}{'ours':>12}{'peer':>12}{'ratio':>8}  target")
    for row in rows:
        mark = "" if row.met else "  MISSED"
        print(
            f"{row.name:46}{row.threads:8}{row.ours:12.4g}{row.peer_value:12.4g}"
            f"{row.ratio:8.2f}  {row.target} of {row.peer} [{row.unit}]{mark}"
        )
    figures = read_json(FIGURES) if FIGURES.exists() else {}
    figures[section] = [{**asdict(row), "met": row.met} for row in rows]
    write_json(FIGURES, figures)
