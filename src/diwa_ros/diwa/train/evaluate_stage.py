# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `evaluate`: base and adapted policy in the simulator, on the same seeds.

Importing this module loads the simulator, so nothing that is strictly offline may import it.
"""

from __future__ import annotations

from typing import Any

from diwa.agent import Agent
from diwa.sim.evaluate import EpisodeResult, evaluate
from diwa.train.experiment import ExperimentConfig
from diwa.train.run import StageContext
from diwa.train.strips import StripRecorder, film_strip


def evaluate_pair(
    context: StageContext, config: ExperimentConfig, base: Agent, adapted: Agent
) -> dict[str, Any]:
    """Run both agents on the seeds of the experiment and return all outcomes, seed by seed."""
    settings = config.evaluation
    seeds = [settings.seed + index for index in range(settings.episodes)]
    outcomes: dict[str, list[EpisodeResult]] = {}
    for name, agent in (("base", base), ("adapted", adapted)):
        recorder = StripRecorder(episodes=3)
        outcomes[name] = evaluate(
            agent,
            config.task,
            seeds,
            contract=agent.contract,
            max_steps=settings.max_steps,
            progress=context.progress,
            name=f"evaluation, {name}",
            stop=context.stop,
            results_path=context.directory / f"{name}.jsonl",
            recorder=recorder,
        )
        for episode, frames in recorder.frames.items():
            result = outcomes[name][episode]
            caption = f"{name}, seed {result.seed}: {'success' if result.success else 'failure'}"
            film_strip(frames, context.directory / f"{name}-{episode}.png", 8, caption)
    return {
        "task": config.task,
        "seeds": seeds,
        "base": [result.success for result in outcomes["base"]],
        "adapted": [result.success for result in outcomes["adapted"]],
        "base_steps": [result.steps for result in outcomes["base"]],
        "adapted_steps": [result.steps for result in outcomes["adapted"]],
    }
