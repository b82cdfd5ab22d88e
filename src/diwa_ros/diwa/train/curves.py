# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""From the lines of `metrics.jsonl` to the report's training curves.

Known figures get a title, a unit and a place; every other one gets a plain chart under "more".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diwa.train.svg import Series, heat_chart, line_chart
from diwa.train.ticks import format_tick

POINTS = 240  # per line; longer ones are averaged
CELLS = 60  # columns of a heat map
TABLE_ROWS = 12
STYLES = ("c0", "c1", "c2", "c3")
Column = tuple[list[int], list[Any]]  # steps and values of one figure


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its words and the same figures as a table."""

    title: str
    svg: str
    note: str = ""
    legend: tuple[tuple[str, str], ...] = ()  # (style, name)
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A chart that the report always makes when its figures are there."""

    title: str
    lines: Mapping[str, str]  # figure -> its name in the legend; a trailing * matches any end
    y_label: str
    note: str = ""
    percent: bool = False
    log: bool = False
    heat: bool = False  # a vector per step, as a heat map


STAGE_TITLES = {
    "world_model": "World model",
    "policy": "Diffusion policy (base)",
    "classifier": "Success classifier",
    "referee_world_model": "Referee: world model",
    "referee_classifier": "Referee: success classifier",
    "finetune": "Fine-tuning in the dream",
    "online": "For comparison: fine-tuning in the simulator",
}
STEP_NAMES = {"finetune": "PPO iteration", "online": "PPO iteration"}
SAME_AS = {"referee_world_model": "world_model", "referee_classifier": "classifier"}
PLANS: dict[str, tuple[Plan, ...]] = {
    "world_model": (
        Plan("Loss", {"loss": "training", "held_out": "held out"}, "loss", log=True),
        Plan("Reconstruction", {"recon_*": ""}, "error, per step", log=True),
        Plan("Divergence", {"kl_dyn": "dynamics", "kl_rep": "representation"}, "KL [nats]"),
    ),
    "policy": (Plan("Denoising loss", {"loss": "loss"}, "mean squared error", log=True),),
    "classifier": (Plan("Loss", {"loss": "loss"}, "loss", log=True),),
    "finetune": (
        Plan(
            "Success in the dream",
            {"dream_success": "while learning", "held_out_dream_success": "held-out starts"},
            "success rate",
            "Judged by the learned classifier; the simulator has no part in it.",
            percent=True,
        ),
        Plan(
            "Judged by the referee",
            {
                "cross_success": "its dream in the robot's place",
                "referee_success": "the same actions in its dream",
                "referee_classifier_success": "likewise, by its classifier",
            },
            "success rate",
            "A second world model and classifier, trained on other episodes. Where they fall while "
            "the dream's own success rises, the policy exploits errors of its world model.",
            percent=True,
        ),
        Plan("Reward", {"reward": "reward"}, "mean per chunk"),
        Plan(
            "Change of the policy",
            {"kl": ""},
            "denoising step",
            "KL to the policy before each update, per denoising step (1 is the noisiest).",
            heat=True,
        ),
        Plan(
            "Clipped share",
            {"clip_fraction": ""},
            "denoising step",
            "Share of samples whose probability ratio was clipped, per denoising step.",
            heat=True,
        ),
        Plan("Cloning term", {"bc_loss": "loss"}, "loss"),
        Plan("Distance from the base policy", {"bc_distance": "chunks"}, "root mean square"),
        Plan("Critic", {"explained_variance": "explained variance"}, "share of variance"),
    ),
    "online": (
        Plan(
            "Success in the simulator",
            {"simulated_success": "held-out starts", "dream_success": "while learning"},
            "success rate",
            "The same algorithm with the simulator as its environment: every step is counted.",
            percent=True,
        ),
        Plan("Simulator steps", {"simulator_steps": "steps"}, "control steps"),
    ),
}


def stage_figures(
    stage: str, rows: Sequence[Mapping[str, Any]]
) -> tuple[list[Figure], list[Figure]]:
    """The main charts of a stage, and those of all its other figures."""
    columns = _columns(rows)
    x_label = STEP_NAMES.get(stage, "gradient step")
    main, used = [], set()
    for plan in PLANS.get(SAME_AS.get(stage, stage), ()):
        named = {
            figure: label or _readable(figure, pattern)
            for pattern, label in plan.lines.items()
            for figure in _matching(pattern, columns)
        }
        chosen = {label: columns[figure] for figure, label in named.items()}
        if not chosen:
            continue
        used |= set(named)
        if plan.heat:
            figure = _heat(plan, next(iter(chosen.values())), x_label)
        else:
            figure = _lines(plan, chosen, x_label)
        main.append(figure)
    more = []
    for name, column in columns.items():
        if name in used or len(column[0]) < 2:
            continue
        if any(isinstance(value, list) for value in column[1]):
            more.append(_heat(Plan(_title(name), {}, "entry"), column, x_label))
        else:
            more.append(_lines(Plan(_title(name), {}, "value"), {name: column}, x_label))
    return main, more


def averaged(steps: Sequence[int], values: Sequence[Any], count: int) -> tuple[list, list]:
    """At most `count` points: means over equal stretches, of numbers or of vectors."""
    size = -(-len(steps) // count) if steps else 1
    places = range(0, len(steps), size)
    return (
        [sum(steps[i : i + size]) / len(steps[i : i + size]) for i in places],
        [_mean(values[i : i + size]) for i in places],
    )


def sampled(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    """At most `TABLE_ROWS` of the rows, evenly spaced, with the first and the last."""
    if len(rows) <= TABLE_ROWS:
        return tuple(rows)
    picks = (round(i * (len(rows) - 1) / (TABLE_ROWS - 1)) for i in range(TABLE_ROWS))
    return tuple(rows[index] for index in picks)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("step", "time"):
                steps, values = columns.setdefault(name, ([], []))
                steps.append(int(row["step"]))
                values.append(value)
    return columns


def _lines(plan: Plan, chosen: Mapping[str, Column], x_label: str) -> Figure:
    series = []
    for index, (name, (steps, values)) in enumerate(chosen.items()):
        x, y = averaged(steps, values, POINTS)
        series.append(Series(name, x, y, STYLES[index % len(STYLES)]))
    known = [y for item in series for y in item.y if y is not None]
    log = plan.log and bool(known) and min(known) > 0 and max(known) > 10 * min(known)
    svg = line_chart(
        series,
        x_label=x_label,
        y_label=plan.y_label + (" (log scale)" if log else ""),
        y_range=(0.0, 1.0) if plan.percent else None,
        log_y=log,
        percent=plan.percent,
    )
    legend = tuple((item.style, item.name) for item in series) if len(series) > 1 else ()
    return Figure(plan.title, svg, plan.note, legend, *_line_table(series, x_label))


def _line_table(
    series: Sequence[Series], x_label: str
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    places = sorted({x for item in series for x in item.x})
    found = [dict(zip(item.x, item.y, strict=True)) for item in series]
    rows = [(format_tick(x), *(_cell(values.get(x)) for values in found)) for x in places]
    return (x_label, *(item.name for item in series)), sampled(rows)


def _heat(plan: Plan, column: Column, x_label: str) -> Figure:
    x, vectors = averaged(*column, CELLS)
    cells = [value if isinstance(value, list) else [value] for value in vectors]
    known = [value for vector in cells for value in vector if value is not None] or [0.0]
    svg = heat_chart(
        x, cells, x_label=x_label, y_label=plan.y_label, low=min(0.0, *known), high=max(known)
    )
    count = max(len(vector) for vector in cells)
    rows = [(format_tick(step), *map(_cell, vector)) for step, vector in zip(x, cells, strict=True)]
    scale = f"Empty is {format_tick(min(0.0, *known))}, full is {format_tick(max(known))}."
    head = (x_label, *(str(index + 1) for index in range(count)))
    return Figure(plan.title, svg, f"{plan.note} {scale}".strip(), (), head, sampled(rows))


def _mean(values: Iterable[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known:
        return None
    if isinstance(known[0], list):
        return [_mean(entry) for entry in zip(*known, strict=False)]
    return sum(known) / len(known)


def _matching(pattern: str, columns: Mapping[str, Column]) -> list[str]:
    if pattern.endswith("*"):
        return [name for name in columns if name.startswith(pattern[:-1])]
    return [pattern] if pattern in columns else []


def _readable(figure: str, pattern: str) -> str:
    return figure.removeprefix(pattern.rstrip("*")).replace("_", " ") or figure


def _title(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
