# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Reward scale, step sizes and figures of PPO's updates, recomputed by other means."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.rl.advantages import RewardScaler
from diwa.rl.config import PPOConfig
from diwa.rl.critic import Critic
from diwa.rl.environment import StepResult
from diwa.rl.ppo import PPO
from diwa.rl.rollout import Rollout, collect
from diwa.rl.update_log import UpdateLog

ACTOR_LR, CRITIC_LR = 1.0e-3, 2.0e-3
CPU = torch.device("cpu")


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Wander:
    """Some numbers that nothing changes; episodes end, solved, now and then."""

    count = 12

    def reset(self, generator: torch.Generator) -> Tensor:
        return torch.randn(self.count, 5, generator=generator)

    def step(self, chunk: Tensor, generator: torch.Generator) -> StepResult:
        solved = torch.rand(self.count, generator=generator) < 0.3
        latent = self.reset(generator)
        return StepResult(latent, latent, solved.float(), solved, torch.zeros_like(solved))


def _learner(**changes: object) -> tuple[PPO, Rollout]:
    torch.manual_seed(0)
    policy = DiffusionPolicy(PolicyConfig(hidden=16, steps=5, finetune_steps=3), 5)
    policy.start_finetuning()
    settings = {
        "epochs": 1,
        "actor_lr": ACTOR_LR,
        "critic_lr": CRITIC_LR,
        "critic_hidden": 16,
        "warmup_iterations": 0,
        "critic_iterations": 0,
        "bc_samples": 16,
        **changes,
    }
    critic = Critic(5, 16)
    learner = PPO(policy, critic, PPOConfig.model_validate(settings))
    return learner, collect(Wander(), policy, critic, 5, _generator())


def _flat(module: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in module.parameters()])


def _gradient(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("clip", [0.8, 10.0])
def test_scaled_rewards_are_those_over_the_deviation_of_all_returns_so_far_clipped(
    clip: float,
) -> None:
    gamma, length, count = 0.9, 6, 4
    scaler, draw = RewardScaler(gamma, clip), _generator()
    returns: list[float] = []
    cut = []
    for _ in range(3):
        reward = torch.randn(length, count, generator=draw) * 3
        ended = torch.rand(length, count, generator=draw) < 0.3
        scaled = scaler(reward, ended)
        for n in range(count):
            for step in range(length):
                begin = max([t + 1 for t in range(step) if ended[t, n]], default=0)
                terms = [gamma ** (step - t) * float(reward[t, n]) for t in range(begin, step + 1)]
                returns.append(sum(terms))
        expected = np.clip(reward.numpy() / np.std(returns), -clip, clip)
        np.testing.assert_allclose(scaled.numpy(), expected, rtol=1e-4, atol=1e-5)
        cut.append(bool((scaled.abs() == clip).any()) and bool((scaled == -clip).any()))
    assert all(cut) == (clip < 1)


def test_reward_clip_of_the_settings_bounds_what_the_learner_sees() -> None:
    learner, _ = _learner(reward_clip=0.25)
    reward = torch.tensor([[5.0, -5.0, 0.0], [0.0, 0.0, 0.01]])
    scaled = learner.scaler(reward, torch.zeros(2, 3, dtype=torch.bool))
    assert scaled[0].tolist() == [0.25, -0.25, 0.0]
    assert 0 < scaled[1, 2] < 0.25


@pytest.mark.parametrize(
    ("iteration", "warmup", "share"),
    [(0, 4, 0.25), (1, 4, 0.5), (3, 4, 1.0), (9, 4, 1.0), (0, 0, 1.0)],
)
def test_steps_grow_in_a_line_while_warming_up(iteration: int, warmup: int, share: float) -> None:
    learner, rollout = _learner(warmup_iterations=warmup)
    learner.iteration, learner.lr_scale = iteration, 0.5
    actor, critic = _flat(learner.actor), _flat(learner.critic)
    learner.update(rollout, _generator(3))
    # Adam's first step is the rate itself, in the direction of the gradient.
    moved = (_flat(learner.actor) - actor).abs().max().item()
    assert moved == pytest.approx(0.5 * share * ACTOR_LR, rel=1e-3)
    moved = (_flat(learner.critic) - critic).abs().max().item()
    assert moved == pytest.approx(share * CRITIC_LR, rel=1e-3), "only the actor slows down"


def test_gradients_of_actor_and_critic_are_clipped_each_for_itself() -> None:
    free, rollout = _learner()
    free.update(rollout, _generator(3))
    norms = [float(_gradient(module).norm()) for module in (free.actor, free.critic)]
    bound = 0.5 * min(norms)
    clipped, rollout = _learner(max_grad_norm=bound)
    clipped.update(rollout, _generator(3))
    for norm, one, other in zip(
        norms, (free.actor, free.critic), (clipped.actor, clipped.critic), strict=True
    ):
        expected = _gradient(one) * bound / norm
        torch.testing.assert_close(_gradient(other), expected, atol=1e-7, rtol=1e-3)


def test_log_prob_range_of_an_update_is_that_of_its_chunk_steps() -> None:
    learner, rollout = _learner(batch=7)  # of 60, the actor hardly moving
    learner.config = learner.config.model_copy(update={"actor_lr": 1e-12})
    result = learner.update(rollout, _generator(3))
    for k in range(3):
        seen = rollout.log_prob[..., k].flatten().tolist()
        assert result.log_prob_low[k] == pytest.approx(min(seen), abs=1e-5)
        assert result.log_prob_high[k] == pytest.approx(max(seen), abs=1e-5)
    assert len({round(low, 3) for low in result.log_prob_low}) == 3, "each step has its own"


def test_figures_of_an_update_are_means_and_extremes_of_the_minibatches_that_counted() -> None:
    log, draw = UpdateLog(2, CPU), _generator()
    kept: dict[str, list[Tensor]] = {name: [] for name in ("kl", "clip", "log", "loss", "value")}
    for epoch in range(3):
        for _ in range(2):
            kl, clip = torch.rand(2, generator=draw), torch.rand(2, generator=draw)
            log_prob = torch.randn(5, 2, generator=draw) * (1 + 10 * epoch)
            loss, bc, value = torch.randn(3, generator=draw)
            log.actor(loss, kl, clip, log_prob, bc)
            log.critic(value)
            if epoch < 2:
                rows = (kl, clip, log_prob, torch.stack((loss, bc)), value)
                for name, row in zip(kept, rows, strict=True):
                    kept[name].append(row)
        log.end_epoch(target_kl=2.0 if epoch == 0 else 0.0)  # too far after the second
    ret, value = torch.randn(2, 40, generator=draw)
    result = log.result(ret, ret - value)
    assert result.epochs == 2
    lowest = [min(float(row[:, k].min()) for row in kept["log"]) for k in range(2)]
    highest = [max(float(row[:, k].max()) for row in kept["log"]) for k in range(2)]
    assert (result.log_prob_low, result.log_prob_high) == (lowest, highest)
    for shown, name in ((result.kl, "kl"), (result.clip_fraction, "clip")):
        assert shown == pytest.approx(np.mean([row.numpy() for row in kept[name]], axis=0))
    losses = np.mean([row.numpy() for row in kept["loss"]], axis=0)
    assert (result.policy_loss, result.bc_loss) == pytest.approx(tuple(losses))
    assert result.value_loss == pytest.approx(np.mean([float(v) for v in kept["value"]]))
    unexplained = np.var((ret - value).numpy()) / np.var(ret.numpy())
    assert result.explained_variance == pytest.approx(1 - unexplained, rel=1e-4)


def test_kl_and_clip_fraction_of_an_update_equal_a_loop_over_chunk_steps() -> None:
    learner, rollout = _learner(
        epochs=2, actor_lr=2.0e-2, clip_coef=0.1, clip_coef_base=0.02, target_kl=10.0
    )
    once = copy.deepcopy(learner)
    once.config = learner.config.model_copy(update={"epochs": 1})
    once.update(rollout, _generator(3))
    both = learner.update(rollout, _generator(3))
    new = once.policy.log_prob(rollout.latent.flatten(0, 1), rollout.chain.flatten(0, 1))
    old = rollout.log_prob.flatten(0, 1)
    assert all(0 < share < 0.5 for share in both.clip_fraction)
    for k, limit in enumerate(learner.clip.tolist()):
        pairs = zip(new[:, k].tolist(), old[:, k].tolist(), strict=True)
        ratios = [math.exp(one - other) for one, other in pairs]
        # The first epoch begins where the chunk steps were sampled, and adds nothing to the sums.
        kl = sum(ratio - 1 - math.log(ratio) for ratio in ratios) / len(ratios)
        outside = sum(abs(ratio - 1) > limit for ratio in ratios) / len(ratios)
        assert both.kl[k] == pytest.approx(kl / 2, rel=0.02, abs=1e-7)
        assert both.clip_fraction[k] == pytest.approx(outside / 2, abs=0.5 / len(ratios))
