# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Plots: axes, marks in the right places, gaps; and which figures become which curves."""

from __future__ import annotations

import math
import xml.etree.ElementTree as Xml

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diwa.train.curves import POINTS, TABLE_ROWS, averaged, sampled, stage_figures
from diwa.train.svg import Bar, Series, bar_chart, heat_chart, line_chart
from diwa.train.ticks import format_tick, log_ticks, nice_ticks, tick_texts


def marks(svg: str, tag: str, style: str = "") -> list[dict[str, str]]:
    root = Xml.fromstring(svg)
    return [e.attrib for e in root.iter(tag) if style in e.get("class", "").split() or not style]


def points(mark: dict[str, str]) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in mark["points"].split()]


numbers = st.floats(-1e6, 1e6)


@given(numbers, st.floats(1e-3, 1e6))
def test_ticks_are_few_round_and_inside(low: float, span: float) -> None:
    ticks = nice_ticks(low, low + span)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    step = ticks[1] - ticks[0]
    digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(digits - round_step) for round_step in (1, 2, 5, 10)) < 1e-3


def test_log_ticks_are_powers_of_ten() -> None:
    assert log_ticks(0.5, 2000) == [1, 10, 100, 1000]
    assert log_ticks(1, 30) == [1, 2, 5, 10, 20]


def test_ticks_read_well() -> None:
    values = [0, 0.25, 1, 1000, 2500, 20000, 5e6, 2e-5]
    texts = ["0", "0.25", "1", "1k", "2500", "20k", "5M", "2e-05"]
    assert [format_tick(value) for value in values] == texts


def test_ticks_of_a_narrow_range_are_told_apart() -> None:
    assert tick_texts([4.07, 4.075, 4.08]) == ["4.07", "4.075", "4.08"]
    assert tick_texts([0, 5000, 10000]) == ["0", "5k", "10k"]


def test_a_line_goes_through_its_points() -> None:
    svg = line_chart(
        [Series("a", [0, 5, 10], [0.0, 1.0, 0.5])], x_label="x", y_label="y", y_range=(0, 1)
    )
    (line,) = marks(svg, "polyline")
    (x0, y0), (x1, y1), (x2, y2) = points(line)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.21)  # downwards is larger in SVG
    assert y0 > y2 > y1


def test_points_lie_where_the_axes_say() -> None:
    svg = line_chart([Series("a", [0, 10], [0.0, 1.0])], x_label="x", y_label="y", y_range=(0, 1))
    (line,) = marks(svg, "polyline")
    rules = [float(mark["y1"]) for mark in marks(svg, "line", "rule")]
    (axis,) = marks(svg, "line", "axis-line")
    (x0, y0), (x1, y1) = points(line)
    assert (y0, y1) == (max(rules), min(rules))
    assert (x0, x1) == (float(axis["x1"]), float(axis["x2"]))
    bars = bar_chart([("", [Bar("all", 1.0)])], "solved")
    (bar,) = marks(bars, "rect", "bar")
    rules = [float(mark["x1"]) for mark in marks(bars, "line", "rule")]
    assert float(bar["x"]) == min(rules)
    assert float(bar["x"]) + float(bar["width"]) == pytest.approx(max(rules), abs=0.11)


def test_a_logarithmic_axis_has_equal_steps_for_equal_factors() -> None:
    svg = line_chart([Series("a", [0, 1, 2], [1, 10, 100])], x_label="x", y_label="y", log_y=True)
    (line,) = marks(svg, "polyline")
    y = [place[1] for place in points(line)]
    assert y[0] - y[1] == pytest.approx(y[1] - y[2], abs=0.11)


def test_a_missing_value_is_a_gap() -> None:
    values = [1.0, 2.0, None, 4.0, 5.0]
    svg = line_chart([Series("a", range(5), values)], x_label="x", y_label="y")
    assert [len(points(line)) for line in marks(svg, "polyline")] == [2, 2]


@pytest.mark.parametrize("values", [[], [None], [1.0], [2.0, 2.0], [0.0, 0.0], [-3.0, -1.0]])
def test_any_data_can_be_drawn(values: list[float | None]) -> None:
    svg = line_chart([Series("a", range(len(values)), values)], x_label="x", y_label="y")
    assert "nan" not in svg
    Xml.fromstring(svg)


def test_names_are_escaped() -> None:
    series = Series('<a & "b">', [0, 1], [0, 1])
    root = Xml.fromstring(line_chart([series], x_label="<x>", y_label="a & b"))
    assert '<a & "b">' in root.get("aria-label", "")
    assert {"<x>", "a & b"} <= {element.text for element in root.iter()}


def test_bars_and_whiskers_are_as_long_as_their_rates() -> None:
    bars = [Bar("base", 0.25, 0.1, 0.4), Bar("adapted", 0.75)]
    svg = bar_chart([("open drawer", bars)], "solved")
    first, second = (float(mark["width"]) for mark in marks(svg, "rect", "bar"))
    assert second == pytest.approx(3 * first, abs=0.21)
    whisker = marks(svg, "line", "whisker")[0]
    assert len(marks(svg, "line", "whisker")) == 3
    length = float(whisker["x2"]) - float(whisker["x1"])
    assert length == pytest.approx(0.3 / 0.25 * first, abs=0.21)
    texts = [element.text for element in Xml.fromstring(svg).iter()]
    assert {"25.0 %", "75.0 %", "open drawer"} <= set(texts)


def test_heat_is_strongest_where_the_value_is_largest() -> None:
    svg = heat_chart([0, 1], [[0.0, 1.0], [0.5, None]], x_label="x", y_label="y", low=0, high=1)
    strengths = [float(mark["fill-opacity"]) for mark in marks(svg, "rect", "cell")]
    assert strengths == sorted(strengths, key=lambda s: (s != 0.04, s != 1.0, s))
    assert strengths == [0.04, 1.0, 0.52]


def test_long_curves_are_averaged_and_short_ones_left_alone() -> None:
    x, y = averaged(list(range(10)), [1.0] * 5 + [3.0] * 5, 2)
    assert (x, y) == ([2.0, 7.0], [1.0, 3.0])
    assert averaged([1, 2], [None, 4.0], 5) == ([1, 2], [None, 4.0])
    assert averaged([0, 1], [[1.0, None], [3.0, 2.0]], 1) == ([0.5], [[2.0, 2.0]])
    assert averaged([], [], 5) == ([], [])
    x, _ = averaged(list(range(100_000)), [0.0] * 100_000, POINTS)
    assert len(x) <= POINTS


def test_tables_keep_the_ends() -> None:
    rows = [(str(index),) for index in range(1000)]
    kept = sampled(rows)
    assert len(kept) == TABLE_ROWS
    assert (kept[0], kept[-1]) == (("0",), ("999",))
    assert sampled(rows[:3]) == tuple(rows[:3])


def rows(**figures: list) -> list[dict]:
    count = len(next(iter(figures.values())))
    return [
        {"step": i, "time": 0.0, **{name: values[i] for name, values in figures.items()}}
        for i in range(count)
    ]


def test_known_figures_share_a_chart_and_others_are_under_more() -> None:
    main, more = stage_figures(
        "world_model", rows(loss=[3.0, 2.0], held_out=[3.5, 2.5], recon_proprio=[1, 2], lr=[1, 1])
    )
    assert [figure.title for figure in main] == ["Loss", "Reconstruction"]
    assert [name for _, name in main[0].legend] == ["training", "held out"]
    assert main[0].head == ("gradient step", "training", "held out")
    assert main[0].rows == (("0", "3", "3.5"), ("1", "2", "2.5"))
    assert [figure.title for figure in more] == ["Lr"]


def test_figures_at_different_steps_are_joined_in_the_table() -> None:
    lines = [
        {"step": 0, "time": 0.0, "dream_success": 0.25},
        {"step": 4, "time": 1.0, "dream_success": 0.5},
        {"step": 4, "time": 1.5, "held_out_dream_success": 0.375},
    ]
    (figure,), _ = stage_figures("finetune", lines)
    assert figure.rows == (("0", "0.25", ""), ("4", "0.5", "0.375"))


def test_a_vector_per_step_is_a_heat_map() -> None:
    main, _ = stage_figures("finetune", rows(kl=[[0.1, 0.2], [0.3, 0.4]]))
    (figure,) = main
    assert figure.svg.count('class="cell"') == 4
    assert figure.head == ("PPO iteration", "1", "2")
    assert figure.rows[1] == ("1", "0.3", "0.4")
    assert "full is 0.4" in figure.note


def test_losses_over_a_wide_range_get_a_logarithmic_axis() -> None:
    wide, _ = stage_figures("policy", rows(loss=[1.0, 0.01]))
    narrow, _ = stage_figures("policy", rows(loss=[1.0, 0.9]))
    negative, _ = stage_figures("policy", rows(loss=[1.0, -0.9]))
    logs = ["log scale" in figures[0].svg for figures in (wide, narrow, negative)]
    assert logs == [True, False, False]


def test_an_unknown_stage_is_drawn_too() -> None:
    main, more = stage_figures("polish", rows(shine=[1.0, 2.0], once=[None, None]))
    assert main == []
    assert [figure.title for figure in more] == ["Shine", "Once"]
