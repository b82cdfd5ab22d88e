# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a series says, once it is closed: paired success with intervals, as data, text and page."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jinja2

from diwa.config import Config
from diwa.files import write_json, write_text
from diwa.train.summary import SkillSummary
from diwa.train.svg import Bar, bar_chart
from diwa.trials.plan import ARMS, TrialPlan
from diwa.trials.series import Series, Trial

JSON_NAME = "results.json"
PAGE_NAME = "report.html"
FEW = 10  # pairs; below it an interval says little


class PairRow(Config):
    """The two trials from one start."""

    pair: int
    seed: int
    first: str  # the arm that went first
    base: bool
    adapted: bool


class TrialResults(Config):
    """Everything that `results.json` holds."""

    plan: TrialPlan
    figures: SkillSummary | None  # None: not one pair is complete
    pairs: tuple[PairRow, ...]  # the complete ones
    unpaired: int  # trials with an outcome whose other half is missing; they count for nothing
    voids: dict[str, int]  # trials that were thrown away and done again, by arm
    corrections: int  # outcomes that were changed afterwards
    operators: tuple[str, ...]
    first_went_well: int  # successes of whoever went first, and of whoever went second:
    second_went_well: int  # far apart, the second trial did not find the scene of the first


def evaluate_series(series: Series) -> TrialResults:
    """Count; the series must have been revealed."""
    assert series.revealed, "results unblind the series"
    rows, outcomes = [], series.outcomes
    for pair in range(series.plan.pairs):
        halves = [outcomes.get((pair, place)) for place in (0, 1)]
        if None in halves:
            continue
        seed = series.plan.first_seed + pair
        arms = [series.arm_of(Trial(pair, place, seed)) for place in (0, 1)]
        by_arm = {arm: half == "success" for arm, half in zip(arms, halves, strict=True)}
        rows.append(PairRow(pair=pair, seed=seed, first=arms[0], **by_arm))
    ended = [record for record in series.log.records if record["event"] == "ended"]
    voids = Counter(
        series.arm_of(Trial(record["pair"], record["place"], 0))
        for record in ended
        if record["outcome"] == "void"
    )
    base, adapted = ([getattr(row, arm) for row in rows] for arm in ARMS)
    figures = SkillSummary.from_outcomes(base, adapted, simulator_steps=0) if rows else None
    return TrialResults(
        plan=series.plan,
        figures=figures,
        pairs=tuple(rows),
        unpaired=len(outcomes) - 2 * len(rows),
        voids={arm: voids[arm] for arm in ARMS},
        corrections=sum(bool(record.get("correction")) for record in ended),
        operators=tuple(sorted({r["operator"] for r in series.log.records if r.get("operator")})),
        first_went_well=sum(getattr(row, row.first) for row in rows),
        second_went_well=sum(row.base + row.adapted - getattr(row, row.first) for row in rows),
    )


def as_text(results: TrialResults) -> str:
    """For a terminal."""
    plan, figures = results.plan, results.figures
    lines = [f"{plan.skill}: {len(results.pairs)} of {plan.pairs} pairs"]
    if figures is None:
        return lines[0] + "; no pair is complete, so there is nothing to compare"
    for arm in ARMS:
        rate, interval = getattr(figures, arm), getattr(figures, f"{arm}_interval")
        lines.append(
            f"  {arm:<11}{100 * rate:5.1f} %  ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
            f"   {plan.candidate(arm).path}"
        )
    low, high = figures.difference_interval
    lines.append(
        f"  {'difference':<11}{100 * figures.difference:+5.1f} points  ({100 * low:+.1f} to "
        f"{100 * high:+.1f}), {figures.gained} won, {figures.lost} lost, p = {figures.p_value:.2g}"
    )
    return "\n".join([*lines, f"  {verdict(results)}", *(f"  note: {n}" for n in notes(results))])


def verdict(results: TrialResults) -> str:
    """The result in one sentence."""
    if results.figures is None:
        return "No pair is complete: there is nothing to compare."
    low, high = results.figures.difference_interval
    if low > 0:
        return "The adapted policy is better, beyond what chance explains."
    if high < 0:
        return "The adapted policy is worse, beyond what chance explains."
    return "The difference may be chance."


def notes(results: TrialResults) -> list[str]:
    """What to bear in mind."""
    found = []
    if results.figures is not None and len(results.pairs) < FEW:
        found.append(f"only {len(results.pairs)} pairs: intervals this wide say little")
    if results.plan.base.sha256 == results.plan.adapted.sha256:
        found.append("both checkpoints are the same: any difference is chance")
    if results.unpaired:
        found.append(f"{results.unpaired} trials without their other half were left out")
    if any(results.voids.values()):
        text = ", ".join(f"{count} of {arm}" for arm, count in results.voids.items())
        found.append(f"thrown away and done again: {text}")
    if results.corrections:
        found.append(f"{results.corrections} outcomes were corrected after they were given")
    return found


def write_results(series: Series) -> TrialResults:
    """Write `results.json` and `report.html` into the folder of a closed series."""
    results = evaluate_series(series)
    write_json(series.folder / JSON_NAME, results.model_dump(mode="json"))
    write_text(series.folder / PAGE_NAME, as_page(results))
    return results


def as_page(results: TrialResults) -> str:
    """One HTML file that needs nothing else."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diwa.train"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": lambda rate: f"{100 * rate:.1f} %",
        "points": lambda difference: f"{100 * difference:+.1f}",
    }
    context: dict[str, Any] = {
        "results": results,
        "plan": results.plan,
        "s": results.figures,
        "verdict": verdict(results),
        "notes": notes(results),
        "chart": _chart(results),
    }
    return environment.get_template("trials.html.jinja").render(context)


def _chart(results: TrialResults) -> str:
    figures = results.figures
    if figures is None:
        return ""
    bars = [
        Bar("base", figures.base, *figures.base_interval, style="base"),
        Bar("adapted", figures.adapted, *figures.adapted_interval, style="c0"),
    ]
    name = results.plan.skill.replace("_", " ")
    return bar_chart([(name, bars)], "trials that succeeded, 95 % interval")
