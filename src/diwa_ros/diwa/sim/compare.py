# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa evaluate`: one checkpoint in the simulator, or two of them on the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diwa.agent import Agent
from diwa.errors import ConfigError
from diwa.sim.evaluate import EpisodeResult, evaluate
from diwa.train.progress import Progress
from diwa.train.statistics import wilson
from diwa.train.stop import StopFlag, stop_on_signals
from diwa.train.summary import SkillSummary


def evaluate_checkpoints(
    checkpoint: Path,
    base: Path | None,
    *,
    episodes: int,
    first_seed: int,
    max_steps: int,
    device: str = "cpu",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Success of `checkpoint`, and of `base` from the same starts where one is given.

    Returns:
        JSON data: skill, seeds, outcomes and the rates with their 95 % intervals.

    Raises:
        ConfigError: a checkpoint cannot be used, or the two are not comparable.
        Interrupted: stopped by a signal.
    """
    agents = {"adapted": Agent.load(checkpoint, device)}
    if base is not None:
        agents = {"base": Agent.load(base, device), **agents}
        _require_comparable(agents["base"], agents["adapted"], base, checkpoint)
    skill, contract = agents["adapted"].skill, agents["adapted"].contract
    seeds = [first_seed + index for index in range(episodes)]
    results: dict[str, list[EpisodeResult]] = {}
    with stop_on_signals(StopFlag()) as stop:
        for name, agent in agents.items():
            results[name] = evaluate(
                agent,
                skill,
                seeds,
                contract=contract,
                max_steps=max_steps,
                progress=progress,
                name=f"evaluation, {name}" if base is not None else "evaluation",
                stop=stop,
            )
    outcomes = {name: [item.success for item in items] for name, items in results.items()}
    return {
        "skill": skill,
        "seeds": seeds,
        "max_steps": max_steps,
        "outcomes": outcomes,
        **_figures(outcomes),
    }


def as_text(figures: dict[str, Any]) -> str:
    """The figures of `evaluate_checkpoints` for a person."""
    seeds = figures["seeds"]
    lines = [f"{figures['skill']}: {len(seeds)} episodes, seeds {seeds[0]} to {seeds[-1]}"]
    for name in figures["outcomes"]:
        low, high = figures[f"{name}_interval"]
        lines.append(
            f"  {name:<11}{100 * figures[name]:5.1f} %  ({100 * low:.1f} to {100 * high:.1f})"
        )
    if "difference" in figures:
        low, high = figures["difference_interval"]
        lines.append(
            f"  {'difference':<11}{100 * figures['difference']:+5.1f} points  "
            f"({100 * low:+.1f} to {100 * high:+.1f}), "
            f"{figures['gained']} won, {figures['lost']} lost, p = {figures['p_value']:.2g}"
        )
    return "\n".join(lines)


def _figures(outcomes: dict[str, list[bool]]) -> dict[str, Any]:
    if "base" not in outcomes:
        return _rate("adapted", outcomes["adapted"])
    names = ("difference", "difference_interval", "p_value", "gained", "lost")
    pair = SkillSummary.from_outcomes(outcomes["base"], outcomes["adapted"], simulator_steps=0)
    dumped = pair.model_dump(mode="json")
    both = _rate("base", outcomes["base"]) | _rate("adapted", outcomes["adapted"])
    return both | {name: dumped[name] for name in names}


def _rate(name: str, outcomes: Sequence[bool]) -> dict[str, Any]:
    estimate = wilson(sum(outcomes), len(outcomes))
    return {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}


def _require_comparable(base: Agent, adapted: Agent, base_path: Path, path: Path) -> None:
    base.contract.require_same(adapted.contract, str(base_path), str(path))
    if base.skill != adapted.skill:
        raise ConfigError(
            f"{base_path} and {path} are not of one skill",
            got=f"{base.skill} and {adapted.skill}",
            hint="compare checkpoints of the same skill",
        )
