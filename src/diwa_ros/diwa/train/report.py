# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`report.html`: one file that says in the morning what the night brought. Opens from disk.

It is drawn from the run folder alone, and from as much of it as there is: a run that was cut or
refused at the gate gets a report too, which says so.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from diwa.errors import ConfigError
from diwa.files import read_json, write_text
from diwa.train.curves import STAGE_TITLES, Figure, stage_figures
from diwa.train.meter import format_bytes, format_seconds
from diwa.train.metrics import read_metrics
from diwa.train.parts import StageRow, stage_rows
from diwa.train.run import Run
from diwa.train.summary import EXPLOITATION_GAP, Summary, Verdict, read_summary
from diwa.train.svg import Bar, Series, bar_chart, line_chart
from diwa.train.ticks import format_tick

FILE_NAME = "report.html"
LARGEST_IMAGES = 8_000_000  # bytes of film strips in one report


@dataclass(frozen=True, slots=True)
class StageCurves:
    """The curves of one stage."""

    title: str
    figures: list[Figure]
    more: list[Figure]


@dataclass(frozen=True, slots=True)
class Strip:
    """One film strip."""

    title: str
    width: int  # [px]
    data: str  # base64 PNG


def write_report(run_path: Path) -> Path:
    """Write `report.html` into the run folder and return its path.

    Raises:
        ConfigError: this is no run folder, or a file in it is damaged.
    """
    run = Run(Path(run_path))
    if not (run.path / "stages").is_dir() and not (run.path / "summary.json").exists():
        raise ConfigError(
            f"{run.path}: nothing to report",
            expected="a run folder with stages/ or summary.json",
            hint="name the folder given to `diwa train --run`",
        )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diwa.train"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "seconds": format_seconds,
        "bytes": format_bytes,
        "percent": lambda rate: f"{100 * rate:.1f} %",
        "points": lambda difference: f"{100 * difference:+.1f}",
        "number": format_tick,
    }
    path = run.path / FILE_NAME
    write_text(path, environment.get_template("report.html.jinja").render(_context(run)))
    return path


def _context(run: Run) -> dict[str, Any]:
    summary = read_summary(run.path)
    config = _json(run.path / "config.json")
    gate = _json(run.stage_dir("gate") / "open_loop.json")
    rows = stage_rows(run.path / "stages")
    strips, left_out = _strips(run.path)
    return {
        "name": (summary.name if summary else "") or config.get("name") or run.path.name,
        "summary": summary,
        "verdict": summary.verdict if summary else _unfinished(gate, rows),
        "success_chart": _success_chart(summary),
        "dream_chart": _dream_chart(summary),
        "gap_limit": EXPLOITATION_GAP,
        "gate": gate,
        "open_loop": open_loop_figures(gate),
        "curves": _curves(run),
        "stages": rows,
        "longest": max((row.seconds for row in rows), default=0.0) or 1.0,
        "strips": strips,
        "strips_left_out": left_out,
        "config": yaml.safe_dump(config, sort_keys=False) if config else "",
        "checkpoints": _checkpoints(run.path, summary),
    }


def open_loop_figures(gate: dict[str, Any]) -> list[Figure]:
    """One chart per observation key: error of the dream, and of predicting no change."""
    figures = []
    for key, curve in gate.get("keys", {}).items():
        lengths = gate["horizons"]
        series = [
            Series("world model", lengths, curve["error"], "c0"),
            Series("predicting no change", lengths, curve["still"], "muted"),
        ]
        svg = line_chart(series, x_label="length of the dream [control steps]", y_label="error")
        rows = tuple(
            (str(length), f"{error:.4g}", f"{still:.4g}")
            for length, error, still in zip(lengths, curve["error"], curve["still"], strict=True)
        )
        legend = tuple((item.style, item.name) for item in series)
        head = ("steps", *(item.name for item in series))
        title, unit = f"Prediction of {key.replace('_', ' ')}", gate.get("unit", "")
        figures.append(Figure(title, svg, unit, legend, head, rows))
    return figures


def _unfinished(gate: dict[str, Any], rows: list[StageRow]) -> Verdict:
    if gate.get("failed"):
        reason = f"The world model did not pass the gate: {'; '.join(gate['failed'])}."
        return Verdict(decision="do not deploy", reason=reason)
    reason = "Nothing was evaluated yet; the command that started this run goes on with it."
    if cut := [f"{row.name} ({row.state})" for row in rows if row.state != "done"]:
        reason += f" Not complete: {', '.join(cut)}."
    return Verdict(decision="not finished", reason=reason)


def _success_chart(summary: Summary | None) -> str:
    if summary is None or not summary.skills:
        return ""
    groups = [
        (
            name.replace("_", " "),
            [
                Bar("base", skill.base, *skill.base_interval, style="base"),
                Bar("adapted", skill.adapted, *skill.adapted_interval, style="c0"),
            ],
        )
        for name, skill in summary.skills.items()
    ]
    return bar_chart(groups, "solved in the simulator, 95 % interval")


def _dream_chart(summary: Summary | None) -> str:
    if summary is None:
        return ""
    groups = []
    for name, skill in summary.skills.items():
        if skill.dream_base is None or skill.dream_adapted is None:
            continue
        bars = [
            Bar("base: simulator", skill.base, *skill.base_interval, style="base"),
            Bar("base: dream", skill.dream_base, style="base dream"),
            Bar("adapted: simulator", skill.adapted, *skill.adapted_interval, style="c0"),
            Bar("adapted: dream", skill.dream_adapted, style="c0 dream"),
        ]
        groups.append((name.replace("_", " "), bars))
    return bar_chart(groups, "episodes solved") if groups else ""


def _curves(run: Run) -> list[StageCurves]:
    found = {
        path.parent.name: read_metrics(path)
        for path in sorted((run.path / "stages").glob("*/metrics.jsonl"))
    }
    names = [name for name in STAGE_TITLES if name in found]
    names += [name for name in found if name not in STAGE_TITLES]
    curves = []
    for name in names:
        main, more = stage_figures(name, found[name])
        if main or more:
            title = STAGE_TITLES.get(name, name.replace("_", " ").capitalize())
            curves.append(StageCurves(title, main, more))
    return curves


def _strips(run_path: Path) -> tuple[list[Strip], int]:
    """The film strips under `stages/`, and how many were left out for their size."""
    strips, size, left_out = [], 0, 0
    for path in sorted((run_path / "stages").rglob("*.png"), key=_strip_order):
        data = path.read_bytes()
        size += len(data)
        if size > LARGEST_IMAGES:
            left_out += 1
            continue
        words = path.with_suffix(".txt")
        caption = words.read_text(encoding="utf-8").strip() if words.exists() else ""
        title = caption or path.stem.replace("_", " ").replace("-", " ")
        width = int.from_bytes(data[16:20], "big")  # where a PNG states it
        strips.append(Strip(title[0].upper() + title[1:], width, base64.b64encode(data).decode()))
    return strips, left_out


def _strip_order(path: Path) -> tuple[str, int, bool, str]:
    """By stage, then by number, so that base and adapted of an episode stand together."""
    number = re.search(r"\d+$", path.stem)
    place = int(number.group()) if number else 0
    return str(path.parent), place, path.stem.startswith("adapted"), path.stem


def _checkpoints(run_path: Path, summary: Summary | None) -> dict[str, str]:
    """Skill to the absolute folder of its adapted checkpoint, where there is one."""
    if summary is None:
        return {}
    return {
        name: str((run_path / skill.checkpoint).resolve())
        for name, skill in summary.skills.items()
        if skill.checkpoint
    }


def _json(path: Path) -> dict[str, Any]:
    raw = read_json(path) if path.exists() else {}
    return raw if isinstance(raw, dict) else {}
