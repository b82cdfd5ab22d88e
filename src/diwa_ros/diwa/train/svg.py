# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Small SVG plots for the report: lines, heat maps, bars with intervals.

They carry no colours of their own; the classes `c0` to `c3`, `base`, `muted` and so on are styled
by the page, so that one drawing works on light and dark. Sizes suit a phone's width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from diwa.train.ticks import log_ticks, nice_ticks, tick_texts

WIDTH = 360
HEIGHT = 216
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 10, 38  # margins of the plot area
ROW = 22  # height of a bar's row
LABEL = 128  # width of a bar's label

Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Series:
    """One line; `None` in `y` is a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    style: str = "c0"


@dataclass(frozen=True, slots=True)
class Bar:
    """One rate with its interval, all in [0, 1]; without one, `low` is None."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    style: str = "c0"


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    log_y: bool = False,
    percent: bool = False,
) -> str:
    """Lines over a common axis. Points without a value leave a gap."""
    points = [
        (x, y) for item in series for x, y in zip(item.x, item.y, strict=True) if y is not None
    ]
    xs, ys = [x for x, _ in points] or [0.0], [y for _, y in points] or [0.0]
    low, high = y_range if y_range is not None else _padded(min(ys), max(ys), log_y)
    ticks = log_ticks(low, high) if log_y else nice_ticks(low, high)
    to_x = _linear(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    to_y = _vertical(low, high, log_y)
    parts = []
    texts = [f"{100 * tick:.0f} %" for tick in ticks] if percent else tick_texts(ticks)
    for tick, text in zip(ticks, texts, strict=True):
        parts.append(_line(LEFT, to_y(tick), WIDTH - RIGHT, to_y(tick), "rule"))
        parts.append(_text(LEFT - 6, to_y(tick) + 4, text, "end"))
    parts += _x_axis(nice_ticks(min(xs), max(xs), 4), to_x, x_label)
    parts.append(_turned(10, (TOP + HEIGHT - BOTTOM) / 2, y_label))
    for item in series:
        parts += _polylines(item, to_x, to_y)
    names = ", ".join(item.name for item in series)
    return _svg(WIDTH, HEIGHT, parts, f"Line chart of {names} over {x_label}")


def heat_chart(
    x: Sequence[float],
    columns: Sequence[Sequence[float | None]],
    *,
    x_label: str,
    y_label: str,
    low: float,
    high: float,
) -> str:
    """Cells whose strength says how large a value is: column i at `x[i]`, first row on top."""
    rows = max(len(column) for column in columns)
    width = (WIDTH - RIGHT - LEFT) / len(columns)
    height = (HEIGHT - BOTTOM - TOP) / rows
    span = high - low if high > low else 1.0
    parts = []
    for i, column in enumerate(columns):
        for j, value in enumerate(column):
            if value is None:
                continue
            strength = 0.04 + 0.96 * min(max((value - low) / span, 0.0), 1.0)
            parts.append(
                f'<rect class="cell" x="{LEFT + i * width:.1f}" y="{TOP + j * height:.1f}" '
                f'width="{width:.1f}" height="{height:.1f}" '
                f'fill-opacity="{strength:.2f}"/>'
            )
    for j in sorted({0, rows // 2, rows - 1}):
        parts.append(_text(LEFT - 6, TOP + (j + 0.5) * height + 4, str(j + 1), "end"))
    to_x = _linear(min(x), max(x), LEFT + width / 2, WIDTH - RIGHT - width / 2)
    parts += _x_axis(nice_ticks(min(x), max(x), 4), to_x, x_label)
    parts.append(_turned(10, (TOP + HEIGHT - BOTTOM) / 2, y_label))
    return _svg(WIDTH, HEIGHT, parts, f"Heat map of {y_label} over {x_label}")


def bar_chart(groups: Sequence[tuple[str, Sequence[Bar]]], x_label: str) -> str:
    """Horizontal bars from 0 to 100 % in named groups, each with its interval as a whisker."""
    to_x = _linear(0.0, 1.0, LABEL, WIDTH - 50)
    parts: list[str] = []
    y = 4.0
    for group, bars in groups:
        if group:
            parts.append(_text(0, y + 13, group, "start", "strong"))
            y += ROW
        for bar in bars:
            parts += _bar(bar, y, to_x)
            y += ROW
        y += 8
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.insert(0, _line(to_x(tick), 4, to_x(tick), y - 4, "rule"))
        parts.append(_text(to_x(tick), y + 10, f"{100 * tick:.0f} %", "middle"))
    parts.append(_text((LABEL + WIDTH - 50) / 2, y + 27, x_label, "middle", "axis"))
    described = "; ".join(
        f"{group} {bar.name} {100 * bar.value:.0f} %" for group, bars in groups for bar in bars
    )
    return _svg(WIDTH, y + 34, parts, f"Bars: {described}")


def _bar(bar: Bar, y: float, to_x: Scale) -> list[str]:
    middle = y + ROW / 2
    parts = [
        _text(LABEL - 8, middle + 4, bar.name, "end"),
        f'<rect class="bar {bar.style}" x="{to_x(0):.1f}" y="{y + 4:.1f}" '
        f'width="{max(to_x(bar.value) - to_x(0), 0.5):.1f}" height="{ROW - 8}" rx="2"/>',
        _text(WIDTH, middle + 4, f"{100 * bar.value:.1f} %", "end"),
    ]
    if bar.low is not None and bar.high is not None:
        left, right = to_x(bar.low), to_x(bar.high)
        parts.append(_line(left, middle, right, middle, "whisker"))
        parts += [_line(x, middle - 4, x, middle + 4, "whisker") for x in (left, right)]
    return parts


def _padded(low: float, high: float, log: bool) -> tuple[float, float]:
    """The range of an axis around the data."""
    if log:
        return low / 1.15, high * 1.15
    if low == high:
        return low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    space = 0.06 * (high - low)
    return (0.0 if 0 <= low < 0.35 * high else low - space), high + space


def _linear(low: float, high: float, first: float, last: float) -> Scale:
    span = high - low if high > low else 1.0
    return lambda value: first + (value - low) / span * (last - first)


def _vertical(low: float, high: float, log: bool) -> Scale:
    if not log:
        return _linear(low, high, HEIGHT - BOTTOM, TOP)
    inner = _linear(math.log(low), math.log(high), HEIGHT - BOTTOM, TOP)
    return lambda value: inner(math.log(value))


def _polylines(item: Series, to_x: Scale, to_y: Scale) -> list[str]:
    runs: list[list[str]] = [[]]
    for x, y in zip(item.x, item.y, strict=True):
        if y is None:
            runs.append([])
        else:
            runs[-1].append(f"{to_x(x):.1f},{to_y(y):.1f}")
    parts = []
    for run in filter(None, runs):
        if len(run) > 1:
            parts.append(f'<polyline class="line {item.style}" points="{" ".join(run)}"/>')
        if len(run) <= 12:  # few enough to show where they were measured
            for point in run:
                cx, cy = point.split(",")
                parts.append(f'<circle class="dot {item.style}" cx="{cx}" cy="{cy}" r="2.6"/>')
    return parts


def _x_axis(ticks: Sequence[float], to_x: Scale, label: str) -> list[str]:
    bottom = HEIGHT - BOTTOM
    parts = [_line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis-line")]
    for tick, text in zip(ticks, tick_texts(ticks), strict=True):
        parts.append(_text(to_x(tick), bottom + 15, text, "middle"))
    return [*parts, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, label, "middle", "axis")]


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _turned(x: float, y: float, text: str) -> str:
    return (
        f'<text class="axis" text-anchor="middle" transform="translate({x:.1f} {y:.1f}) '
        f'rotate(-90)">{escape(text)}</text>'
    )


def _svg(width: float, height: float, parts: Sequence[str], description: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{escape(description, quote=True)}">{"".join(parts)}</svg>'
    )
