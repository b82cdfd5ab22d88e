# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Figures and tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST_ROWS = 40


def duration(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60:02d} s"


def size(count: float) -> str:
    """Bytes in the unit that suits."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], most: int | None = MOST_ROWS
) -> str:
    """Text columns; numbers to the right, and at most so many rows."""
    body = [[str(cell) for cell in row] for row in rows]
    numeric = [all(isinstance(row[i], int) for row in rows) for i in range(len(header))]
    left_out = 0 if most is None else len(body) - most
    lines = [list(header), *body[:most]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    ]
    if left_out > 0:
        text.append(f"... and {left_out} more")
    return "\n".join(f"  {line}" for line in text)
