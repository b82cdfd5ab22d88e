# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One iteration of PPO at the paper's sizes: the whole update against collecting its dreams.

Ten epochs over all ten denoising steps of 50 x 36 chunks, with the cloning term on a quarter as
many chains of the base policy, should take at most three times as long as collecting, in float32
and with products rounded where the processor can.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from side_by_side import Comparison, compare, keep, threads

from diwa.config import load_config
from diwa.policy.diffusion import DiffusionPolicy
from diwa.reward.classifier import SuccessClassifier
from diwa.rl.critic import Critic
from diwa.rl.dream import DreamEnvironment, StartBank
from diwa.rl.ppo import PPO
from diwa.rl.precision import multiplies_bf16
from diwa.rl.rollout import collect
from diwa.train.experiment import ExperimentConfig
from diwa.world_model.config import InputConfig
from diwa.world_model.model import WorldModel

ROUNDS = 7  # of up to a quarter of a minute each
ROOT = Path(__file__).resolve().parent.parent


def iteration(count: int, precision: str) -> Comparison:
    """50 dreams of 36 chunks, then ten epochs over 10 denoising steps of each."""
    torch.manual_seed(0)
    paper = load_config(ExperimentConfig, ROOT / "config/experiments/calvin_vision.yaml")
    # Dreams never look at observations: a vector in place of the cameras changes nothing here.
    sizes = paper.world_model.model_copy(update={"inputs": (InputConfig(key="proprio"),)})
    unit = {"mean": np.zeros(8), "std": np.ones(8), "min": np.zeros(8), "max": np.ones(8)}
    world_model = WorldModel(sizes, {"proprio": unit}, torch.zeros(7))
    world_model.requires_grad_(False)
    classifier = SuccessClassifier(paper.classifier, sizes.feat).requires_grad_(False)
    post = torch.randn(64, sizes.stoch, sizes.classes).log_softmax(-1)
    starts = StartBank(torch.zeros(64, sizes.deter), post)
    dream = DreamEnvironment(world_model, classifier, starts, paper.dream)
    policy = DiffusionPolicy(paper.policy, sizes.feat)
    policy.start_finetuning()
    critic = Critic(sizes.feat, paper.ppo.critic_hidden)
    learner = PPO(policy, critic, paper.ppo.model_copy(update={"precision": precision}))
    learner.iteration = paper.ppo.critic_iterations  # past the iterations of the critic alone
    generator = torch.Generator().manual_seed(0)

    def dreams() -> object:
        return collect(dream, policy, critic, paper.ppo.chunks, generator)

    rollout = collect(dream, policy, critic, paper.ppo.chunks, generator)
    with threads(count):
        name = f"PPO {precision}, {paper.dream.dreams} x {paper.ppo.chunks} x 10 steps x 10"
        return compare(
            name,
            lambda: learner.update(rollout, generator),
            "collecting its dreams",
            dreams,
            "<= 3.0",
            rounds=ROUNDS,
        )


def main() -> None:
    """Compare on one and on two threads."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    precisions = ["fp32", "bf16"] if multiplies_bf16(torch.device("cpu")) else ["fp32"]
    keep("ppo", [iteration(count, name) for count in (1, 2) for name in precisions])


if __name__ == "__main__":
    main()
