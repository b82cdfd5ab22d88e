# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `online`: the same PPO with the simulator as its environment, as a baseline to compare.

It says how many simulator steps it takes to get as good as the policy that was adapted in the
dream, with none. Importing this module loads the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diwa.data.dataset import Dataset
from diwa.policy.diffusion import DiffusionPolicy
from diwa.rl.rollout import success_rate
from diwa.sim.online import SimulatorEnvironment
from diwa.sim.pool import SimulatorPool
from diwa.train.experiment import ExperimentConfig
from diwa.train.improve import improve
from diwa.train.models import load_policy, load_world_model, save_policy
from diwa.train.run import StageContext

TRAIN_SEEDS, JUDGE_SEEDS = 1_000_000, 2_000_000  # far from those of the evaluation


@dataclass(frozen=True, slots=True)
class OnlineScore:
    """Success in the simulator, and what it has cost to get there."""

    success: float
    simulator_steps: int

    @property
    def decisive(self) -> float:
        """The success rate."""
        return self.success

    def figures(self) -> dict[str, float]:
        """For the metrics log."""
        return {
            "simulated_success": self.success,
            "simulator_steps": float(self.simulator_steps),
        }


def finetune_online(
    context: StageContext,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    folders: Mapping[str, Path],
    target: float,
) -> dict[str, Any]:
    """Fine-tune the base policy in the simulator until it reaches `target`, or time is up.

    Args:
        context: of the stage.
        dataset: for its contract.
        config: with a section `online`.
        device: of the models.
        folders: of the stages' models.
        target: success rate of the policy that was adapted in the dream.

    Returns:
        "simulator_steps": all that were learned from; "steps_to_match": until the first judgement
        at or above `target`, None if there was none; "curve": [steps, success] of each judgement.
    """
    assert config.online is not None
    settings = config.online
    policy, meta = load_policy(folders["policy"], device)
    world_model, _ = load_world_model(folders["world_model"], device)
    length = config.dream.max_chunks
    curve = _Curve()
    with SimulatorPool(dataset.contract, config.task, settings.tables, settings.workers) as pool:
        train = SimulatorEnvironment(pool, world_model, length, TRAIN_SEEDS)

        def judge(candidate: DiffusionPolicy) -> OnlineScore:
            generator = torch.Generator(device=device).manual_seed(config.seed + 52)
            rates = []
            for index in range(settings.judge_rounds):  # the same starts for every candidate
                first = JUDGE_SEEDS + index * settings.tables
                environment = SimulatorEnvironment(pool, world_model, length, first)
                rates.append(success_rate(environment, candidate, length, generator)[0])
            score = OnlineScore(sum(rates) / len(rates), train.steps)
            curve.points.append([float(score.simulator_steps), score.success])
            return score

        fields = ("iterations", "chunks", "eval_every")
        ppo = config.ppo.model_copy(update={name: getattr(settings, name) for name in fields})
        keeper = improve(
            context,
            "fine-tuning in the simulator",
            policy,
            train,
            judge,
            ppo,
            base=judge(policy),
            seed=config.seed + 50,
            others={"environment": train, "curve": curve},
            enough=target,
        )
    keeper.restore()
    save_policy(context.directory / "model", policy, {**meta, "online_steps": train.steps})
    matched = [steps for steps, success in curve.points if success >= target]
    return {
        "simulator_steps": train.steps,
        "steps_to_match": int(matched[0]) if matched else None,
        "target": target,
        "best": keeper.score,
        "judged_episodes": settings.tables * settings.judge_rounds,
        "curve": curve.points,
    }


class _Curve:
    """Judgements so far: [simulator steps, success]."""

    def __init__(self) -> None:
        self.points: list[list[float]] = []

    def state(self) -> dict[str, Any]:
        return {"points": self.points}

    def load(self, state: dict[str, Any]) -> None:
        self.points = [[float(steps), float(rate)] for steps, rate in state["points"]]
