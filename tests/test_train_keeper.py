# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Keeping the best learner and going back to it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.rl.config import PPOConfig
from diwa.rl.critic import Critic
from diwa.rl.ppo import PPO
from diwa.train.keeper import Keeper
from diwa.train.state import load_state, save_state


@pytest.fixture
def learner() -> PPO:
    torch.manual_seed(0)
    policy = DiffusionPolicy(PolicyConfig(hidden=16, steps=4, finetune_steps=2), 6)
    policy.start_finetuning()
    return PPO(policy, Critic(6, 8), PPOConfig(actor_lr=1e-2, warmup_iterations=0))


def _disturb(learner: PPO) -> None:
    """A step of both optimisers, so that weights and optimiser states change."""
    loss = sum(p.square().sum() for p in learner.actor.parameters())
    loss = loss + sum(p.square().sum() for p in learner.critic.parameters())
    loss.backward()
    learner.actor_optimiser.step()
    learner.critic_optimiser.step()


def _plain(learner: PPO) -> list[torch.Tensor]:
    weights = [*learner.actor.state_dict().values(), *learner.critic.state_dict().values()]
    moments = [
        value
        for optimiser in (learner.actor_optimiser, learner.critic_optimiser)
        for row in optimiser.state_dict()["state"].values()
        for value in row.values()
    ]
    return [value.clone() for value in (*weights, *moments)]


def _same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )


def test_only_a_better_score_is_kept(learner: PPO) -> None:
    keeper = Keeper(learner, 0.5, collapse_drop=0.3)
    _disturb(learner)
    assert not keeper.offer(0.5, 1)
    assert keeper.offer(0.6, 2)
    kept = _plain(learner)
    _disturb(learner)
    assert not keeper.offer(0.55, 3)
    assert not _same(_plain(learner), kept)
    keeper.restore()
    assert _same(_plain(learner), kept)
    assert (keeper.score, keeper.iteration, keeper.since, keeper.last) == (0.6, 2, 1, 3)


def test_rolling_back_slows_the_actor_down(learner: PPO) -> None:
    keeper = Keeper(learner, 0.9, collapse_drop=0.3)
    kept = _plain(learner)
    _disturb(learner)
    assert keeper.collapsed(0.59) and keeper.collapsed(math.nan)
    assert not keeper.collapsed(0.61)
    keeper.roll_back()
    keeper.roll_back()
    assert _same(_plain(learner), kept)
    assert (learner.lr_scale, keeper.rollbacks, keeper.last) == (0.25, 2, 0)


def test_critic_of_the_base_policy_learns_alone_again_after_going_back(learner: PPO) -> None:
    keeper = Keeper(learner, 0.9, collapse_drop=0.3)
    learner.iteration = 7
    keeper.roll_back()
    assert learner.iteration == 0, "its critic has learned nothing"
    learner.iteration = 5
    keeper.offer(0.95, 5)
    learner.iteration = 9
    keeper.roll_back()
    assert learner.iteration == 5, "this one has"


def test_restored_weights_do_not_change_the_kept_ones(learner: PPO) -> None:
    keeper = Keeper(learner, 0.9, collapse_drop=0.3)
    kept = _plain(learner)
    for _ in range(2):
        _disturb(learner)
        keeper.restore()
        assert _same(_plain(learner), kept)


def test_keeper_survives_saving(learner: PPO, tmp_path: Path) -> None:
    keeper = Keeper(learner, 0.2, collapse_drop=0.3)
    _disturb(learner)
    keeper.offer(0.4, 5)
    keeper.rollbacks = 1
    kept = _plain(learner)
    save_state(tmp_path / "state", keeper.state())
    again = Keeper(learner, 0.0, collapse_drop=0.3)
    again.load(load_state(tmp_path / "state"))
    _disturb(learner)
    again.restore()
    assert _same(_plain(learner), kept)
    assert (again.score, again.iteration, again.since, again.rollbacks) == (0.4, 5, 0, 1)
    assert again.last == 5
