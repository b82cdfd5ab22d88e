# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The table of a suite of skills and seeds, and its file of figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from result_files import ROOT, origin, write_section

from diwa.files import write_json
from diwa.train.summary import SkillSummary

Outcomes = Mapping[str, Mapping[int, Mapping[str, Any]]]  # by skill and seed: results of stages


def summarise(found: Mapping[int, Mapping[str, Any]]) -> SkillSummary:
    """All seeds of a skill together."""
    base = [bool(b) for item in found.values() for b in item["evaluate"]["base"]]
    adapted = [bool(a) for item in found.values() for a in item["evaluate"]["adapted"]]
    steps = sum(item["finetune"]["simulator_steps"] for item in found.values())
    dream = {
        name: statistics.mean(item["finetune"][name] for item in found.values())
        for name in ("dream_base", "dream_adapted")
    }
    return SkillSummary.from_outcomes(base, adapted, simulator_steps=steps, **dream)


def table(outcomes: Outcomes, pooled: Mapping[str, SkillSummary]) -> str:
    """The Markdown table of `docs/results.md`."""
    lines = [
        "| skill | seeds | base | adapted | paired difference | judged by the referee "
        "| dream | simulator steps | PPO in the simulator needs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for skill, item in pooled.items():
        runs = outcomes[skill].values()
        low, high = item.difference_interval
        judged = _judged(run["finetune"] for run in runs)
        lines.append(
            f"| `{skill}` | {len(runs)} | {item.base:.0%} | {item.adapted:.0%} "
            f"| {100 * item.difference:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}] "
            f"| {judged} | {item.dream_adapted:.0%} | {item.simulator_steps} "
            f"| {_steps(run['online'] for run in runs)} |"
        )
    gains = [item.difference for item in pooled.values()]
    base = statistics.mean(item.base for item in pooled.values())
    adapted = statistics.mean(item.adapted for item in pooled.values())
    lines.append(
        f"| mean | | {base:.1%} | {adapted:.1%} | {100 * statistics.mean(gains):+.1f} | | | | |"
    )
    return "\n".join(lines)


def _judged(results: Iterable[Mapping[str, Any]]) -> str:
    """By the referees, where there were any."""
    known = [r["judged_adapted"] for r in results if r["exploitation_gap_adapted"] is not None]
    return f"{statistics.mean(known):.0%}" if known else "no referee"


def _judgement(result: Mapping[str, Any]) -> dict[str, float | None]:
    """What weights were chosen by, and what the referee does not confirm of it."""
    names = ("judged", "exploitation_gap")
    return {
        f"{name}_{who}": result[f"{name}_{who}"] for name in names for who in ("base", "adapted")
    }


def _steps(results: Iterable[Mapping[str, Any] | None]) -> str:
    """What the baseline in the simulator needed, of the seeds that it was run with."""
    texts = []
    for result in results:
        if result is None:
            continue
        if result["steps_to_match"] is None:
            texts.append(f"> {result['simulator_steps']:,} (best {result['best']:.0%})")
        else:
            texts.append(f"{result['steps_to_match']:,}")
    return ", ".join(texts) or "not run"


def publish(name: str, settings: Mapping[str, Any], outcomes: Outcomes) -> None:
    """Write docs/results/NAME.json, and the table into the section `name` of docs/results.md."""
    if not outcomes:
        return
    command = f"make results-{name}"
    pooled = {skill: summarise(found) for skill, found in outcomes.items()}
    about = origin(command)
    seeds = sorted({seed for found in outcomes.values() for seed in found})
    per_seed = {
        str(seed): {
            skill: summarise({seed: found[seed]}).model_dump(mode="json")
            for skill, found in outcomes.items()
            if seed in found
        }
        for seed in seeds
    }
    online = {
        skill: {str(seed): item["online"] for seed, item in found.items() if item["online"]}
        for skill, found in outcomes.items()
    }
    judged = {
        skill: {str(seed): _judgement(item["finetune"]) for seed, item in found.items()}
        for skill, found in outcomes.items()
    }
    stages: dict[str, float] = {}
    for found in outcomes.values():
        for item in found.values():
            stages.update(item["seconds"])
    hours = sum(stages.values()) / 3600
    facts = {**about, "settings": settings, "hours": hours}
    skills = {skill: item.model_dump(mode="json") for skill, item in pooled.items()}
    figures = {**facts, "skills": skills, "seeds": per_seed, "online": online, "judged": judged}
    write_json(ROOT / f"docs/results/{name}.json", figures)
    changed = "".join(f" with `{change}`" for change in settings["overrides"])
    text = (
        f"`{command}`{changed}, commit {about['commit']}, {about['machine']}; all stages together "
        f"{hours:.1f} hours of processes"
    )
    write_section(name, f"{text}\n\n{table(outcomes, pooled)}")
