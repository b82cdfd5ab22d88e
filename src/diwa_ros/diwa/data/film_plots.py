# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Curves, bands and words on pictures, all on one time axis."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (30, 30, 30)
MUTED: Colour = (110, 110, 110)
RULE: Colour = (222, 222, 222)
LINES: tuple[Colour, ...] = ((0, 114, 178), (213, 94, 0), (0, 140, 100))  # told apart by all
BANDS: tuple[Colour, Colour] = ((70, 70, 70), (240, 200, 80))  # no, yes
LEFT, RIGHT = 64, 24  # margins of the axis [px]
HEIGHT = 92  # of a row of curves
HEAD = 20  # of its words
TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
MOST_TICKS = 12


@dataclass(frozen=True, slots=True)
class Axis:
    """Where frames stand: frame 0 at `start`, frame `last` at `end` [px]."""

    start: int
    end: int
    last: int
    rate_hz: float

    def at(self, frame: float) -> int:
        """Column of a frame."""
        return round(self.start + (self.end - self.start) * frame / max(self.last, 1))


@dataclass(frozen=True, slots=True)
class Curves:
    """Some lines in one row.

    Attributes:
        title: of the row.
        names: of the lines.
        values: (T, N) float.
        limits: of the vertical axis; None: those of the values.
    """

    title: str
    names: tuple[str, ...]
    values: np.ndarray
    limits: tuple[float, float] | None


def draw_words(
    canvas: np.ndarray, words: str, corner: tuple[int, int], colour: Colour, size: float
) -> int:
    """Write `words` with their lower left corner there; where they end [px]."""
    # The font has no letters beyond ASCII.
    plain = words.encode("ascii", "replace").decode("ascii")
    cv2.putText(canvas, plain, corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
    (width, _), _ = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    return corner[0] + int(width)


def draw_curves(curves: Curves, width: int, axis: Axis, frames: np.ndarray) -> np.ndarray:
    """A row (HEIGHT, width, 3) with lines over `frames` (T,)."""
    canvas = np.full((HEIGHT, width, 3), PAPER, np.uint8)
    low, high = curves.limits or _limits(curves.values)
    top, bottom = HEAD + 4, HEIGHT - 8
    for value in (low, high):
        row = _row(value, low, high, top, bottom)
        cv2.line(canvas, (axis.start, row), (axis.end, row), RULE, 1)
        _draw_number(canvas, 0.0 if abs(value) < 1e-3 * (high - low) else value, axis, row)
    if low < 0 < high:
        row = _row(0.0, low, high, top, bottom)
        cv2.line(canvas, (axis.start, row), (axis.end, row), RULE, 1)
        if min(row - top, bottom - row) > 14:
            _draw_number(canvas, 0.0, axis, row)
    left = draw_words(canvas, curves.title, (axis.start, 13), MUTED, 0.42) + 18
    columns = [axis.at(frame) for frame in frames]
    for index, name in enumerate(curves.names):
        colour = LINES[index % len(LINES)]
        if len(curves.names) > 1:
            left = draw_words(canvas, name, (left, 13), colour, 0.42) + 12
        values = np.clip(curves.values[:, index], low, high)
        points = [
            (column, _row(float(value), low, high, top, bottom))
            for column, value in zip(columns, values, strict=True)
        ]
        cv2.polylines(canvas, [np.array(points, np.int32)], False, colour, 1, cv2.LINE_AA)
    return canvas


def draw_states(
    title: str, names: tuple[str, str], states: np.ndarray, width: int, axis: Axis
) -> np.ndarray:
    """A row (HEAD + 22, width, 3) with a band that tells when `states` (T,) bool holds."""
    canvas = np.full((HEAD + 22, width, 3), PAPER, np.uint8)
    left = draw_words(canvas, title, (axis.start, 13), MUTED, 0.42) + 18
    for name, colour in zip(names, BANDS, strict=True):
        cv2.rectangle(canvas, (left, 4), (left + 12, 14), colour, cv2.FILLED)
        left = draw_words(canvas, name, (left + 18, 13), MUTED, 0.42) + 14
    changes = np.flatnonzero(np.diff(states.astype(np.int8))) + 1
    for first, end in zip([0, *changes], [*changes, len(states)], strict=True):
        corners = (axis.at(first), HEAD), (axis.at(end), HEAD + 12)
        cv2.rectangle(canvas, *corners, BANDS[int(states[first])], cv2.FILLED)
    return canvas


def draw_time(width: int, axis: Axis) -> np.ndarray:
    """A row (24, width, 3) with seconds."""
    canvas = np.full((24, width, 3), PAPER, np.uint8)
    duration = axis.last / axis.rate_hz
    step = next((tick for tick in TICKS if duration / tick <= MOST_TICKS), TICKS[-1])
    for count in range(int(duration / step) + 1):
        column = axis.at(count * step * axis.rate_hz)
        cv2.line(canvas, (column, 0), (column, 4), MUTED, 1)
        unit = " s" if count == 0 else ""
        draw_words(canvas, f"{count * step:g}{unit}", (column - 4, 17), MUTED, 0.38)
    return canvas


def _draw_number(canvas: np.ndarray, value: float, axis: Axis, row: int) -> None:
    """A number to the left of the axis, at the height of its line."""
    (width, _), _ = cv2.getTextSize(f"{value:.3g}", cv2.FONT_HERSHEY_SIMPLEX, 0.36, 1)
    draw_words(canvas, f"{value:.3g}", (max(2, axis.start - 8 - width), row + 4), MUTED, 0.36)


def _limits(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9:
        return low - 0.5, high + 0.5
    return low, high


def _row(value: float, low: float, high: float, top: int, bottom: int) -> int:
    return round(bottom - (bottom - top) * (value - low) / (high - low))
