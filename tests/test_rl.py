# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Advantages, the clipped surrogate, and PPO on the denoising MDP."""

from __future__ import annotations

import math

import pytest
import torch

from diwa.policy.actions import executable
from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.reward.classifier import ClassifierConfig, SuccessClassifier
from diwa.rl.advantages import RewardScaler, gae
from diwa.rl.config import DreamConfig, PPOConfig
from diwa.rl.critic import Critic
from diwa.rl.dream import DreamEnvironment, StartBank
from diwa.rl.environment import StepResult
from diwa.rl.ppo import PPO, clip_schedule, policy_loss
from diwa.rl.precision import Precision
from diwa.rl.rollout import Rollout, collect, success_rate
from learning_fixtures import tiny_world_model


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class ReachTarget:
    """Toy: one step a episode; solved when the chunk's mean x exceeds what the base policy does."""

    def __init__(self, count: int = 64) -> None:
        self.count = count
        self.latent = torch.zeros(count, 4)

    def reset(self, generator: torch.Generator) -> torch.Tensor:
        self.latent = torch.randn(self.count, 4, generator=generator)
        return self.latent

    def step(self, chunk: torch.Tensor, generator: torch.Generator) -> StepResult:
        reward = chunk[:, :, 0].mean(dim=1)
        done = torch.ones(self.count, dtype=torch.bool)
        final = self.latent
        return StepResult(self.reset(generator), final, reward, done, ~done)


def _learner(**changes: object) -> tuple[PPO, DiffusionPolicy]:
    torch.manual_seed(0)
    policy = DiffusionPolicy(PolicyConfig(hidden=32, steps=6, finetune_steps=4), 4)
    policy.start_finetuning()
    config = PPOConfig.model_validate(
        {
            "chunks": 4,
            "epochs": 4,
            "batch": 64,
            "actor_lr": 3.0e-3,
            "critic_lr": 1.0e-2,
            "critic_hidden": 32,
            "clip_coef": 0.2,
            "clip_coef_base": 0.05,
            "warmup_iterations": 0,
            "critic_iterations": 1,
            "bc_scale": 0.0,
            "bc_samples": 64,
            **changes,
        }
    )
    return PPO(policy, Critic(4, 32), config), policy


def test_gae_equals_the_explicit_sum_with_terminations_and_truncations() -> None:
    length, count, gamma, lam = 7, 5, 0.97, 0.9
    draw = _generator(3)
    reward, value, after = (torch.randn(length, count, generator=draw) for _ in range(3))
    terminated = torch.rand(length, count, generator=draw) < 0.2
    truncated = (torch.rand(length, count, generator=draw) < 0.2) & ~terminated
    advantage, ret = gae(reward, value, after, terminated, truncated, gamma, lam)
    for n in range(count):
        for t in range(length):
            total, weight = 0.0, 1.0
            for s in range(t, length):
                bootstrap = 0.0 if terminated[s, n] else gamma * float(after[s, n])
                total += weight * (float(reward[s, n]) + bootstrap - float(value[s, n]))
                if terminated[s, n] or truncated[s, n]:
                    break
                weight *= gamma * lam
            assert float(advantage[t, n]) == pytest.approx(total, abs=1e-5)
    torch.testing.assert_close(ret, advantage + value)


def test_gae_equals_torchrl() -> None:
    functional = pytest.importorskip("torchrl.objectives.value.functional")
    length, count = 9, 3
    draw = _generator(4)
    reward, value, after = (torch.randn(length, count, generator=draw) for _ in range(3))
    terminated = torch.rand(length, count, generator=draw) < 0.2
    truncated = (torch.rand(length, count, generator=draw) < 0.2) & ~terminated

    def shaped(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.T.unsqueeze(-1).contiguous()

    expected, _ = functional.generalized_advantage_estimate(
        0.99,
        0.95,
        shaped(value),
        shaped(after),
        shaped(reward),
        done=shaped(terminated | truncated),
        terminated=shaped(terminated),
    )
    advantage, _ = gae(reward, value, after, terminated, truncated, 0.99, 0.95)
    torch.testing.assert_close(advantage, expected.squeeze(-1).T, atol=1e-5, rtol=1e-5)


def test_truncation_bootstraps_from_the_state_that_was_cut() -> None:
    reward, value = torch.zeros(1, 2), torch.zeros(1, 2)
    after = torch.tensor([[5.0, 5.0]])
    cut = torch.tensor([[False, True]])
    ended = torch.tensor([[True, False]])
    advantage, _ = gae(reward, value, after, ended, cut, 0.9, 0.95)
    assert advantage[0].tolist() == pytest.approx([0.0, 4.5])


def test_clip_schedule_is_the_published_one() -> None:
    expected = [0.001, 0.00119, 0.00145, 0.00181, 0.00232, 0.00303, 0.00401, 0.00539, 0.00732, 0.01]
    schedule = clip_schedule(PPOConfig(), 10)
    torch.testing.assert_close(schedule, torch.tensor(expected), atol=6e-6, rtol=0)


def test_ratio_is_one_before_the_first_update() -> None:
    learner, policy = _learner()
    rollout = collect(ReachTarget(), policy, learner.critic, 2, _generator())
    log_prob = policy.log_prob(rollout.latent.flatten(0, 1), rollout.chain.flatten(0, 1))
    ratio = (log_prob - rollout.log_prob.flatten(0, 1)).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=2e-5, rtol=0)
    advantage = torch.randn(len(ratio), generator=_generator())
    loss = policy_loss(log_prob, rollout.log_prob.flatten(0, 1), advantage, learner.clip, 0.99)
    assert float(loss.clip_fraction.max()) == 0
    assert float(loss.kl.abs().max()) < 1e-6


def test_policy_loss_equals_plain_ppo_for_one_step() -> None:
    new = torch.tensor([[0.3], [-0.4], [0.05]])
    old = torch.zeros(3, 1)
    advantage = torch.tensor([1.0, -2.0, 0.5])
    loss = policy_loss(new, old, advantage, torch.tensor([0.1]), 0.99)
    expected = 0.0
    for difference, gain in zip(new[:, 0].tolist(), advantage.tolist(), strict=True):
        ratio = math.exp(difference)
        clipped = min(max(ratio, 0.9), 1.1)
        expected += max(-gain * ratio, -gain * clipped) / 3
    assert float(loss.total) == pytest.approx(expected, rel=1e-5)


def test_advantage_is_discounted_towards_noisier_steps() -> None:
    log_prob = torch.zeros(1, 3, requires_grad=True)
    loss = policy_loss(log_prob, torch.zeros(1, 3), torch.ones(1), torch.full((3,), 0.1), 0.5)
    loss.total.backward()
    gradient = log_prob.grad
    assert gradient is not None
    torch.testing.assert_close(gradient[0] / gradient[0, -1], torch.tensor([0.25, 0.5, 1.0]))


def test_bc_term_pulls_towards_the_base_policy() -> None:
    learner, policy = _learner(bc_scale=1.0)
    latent = torch.randn(64, 4, generator=_generator(2))
    chain = policy.sample_chain(latent, _generator(3), use_base=True).chain
    with torch.no_grad():
        learner.actor.out.bias += 0.2
    before = policy.log_prob(latent, chain).mean()
    gradient = torch.autograd.grad(-before, list(learner.actor.parameters()))
    with torch.no_grad():
        for parameter, slope in zip(learner.actor.parameters(), gradient, strict=True):
            parameter -= 0.01 * slope
    after = policy.log_prob(latent, chain).mean()
    assert float(after.detach()) > float(before.detach())


def test_update_adds_the_scaled_bc_gradient_to_that_of_ppo() -> None:
    gradients = []
    for scale in (0.0, 0.3):
        learner, policy = _learner(
            bc_scale=scale, epochs=1, batch=10_000, bc_samples=10_000, critic_iterations=0
        )
        rollout = collect(ReachTarget(), policy, learner.critic, 2, _generator())
        learner.update(rollout, _generator(8))
        gradients.append([p.grad.clone() for p in learner.actor.parameters() if p.grad is not None])
    _, policy = _learner(bc_scale=0.3)  # as before the update
    generator = _generator(8)
    latent = rollout.latent.flatten(0, 1)
    rows = torch.randperm(len(latent), generator=generator)
    chosen = latent[rows]
    chain = policy.sample_chain(chosen, generator, use_base=True).chain
    torch.randperm(len(latent), generator=generator)  # the minibatch's order
    pick = torch.randint(len(chosen), (len(chosen),), generator=generator)
    bc = -policy.log_prob(chosen[pick], chain[pick]).mean()
    assert policy.tuned is not None
    expected = torch.autograd.grad(bc, list(policy.tuned.parameters()))
    for plain, both, part in zip(*gradients, expected, strict=True):
        torch.testing.assert_close(both - plain, 0.3 * part, atol=1e-5, rtol=1e-3)


def test_bc_gradient_equals_finite_differences() -> None:
    learner, policy = _learner(bc_scale=1.0)
    policy.double()
    latent = torch.randn(8, 4, generator=_generator(2), dtype=torch.float64)
    chain = torch.randn(8, 5, 4, 7, generator=_generator(3), dtype=torch.float64) * 0.1
    bias = learner.actor.out.bias
    loss = -policy.log_prob(latent, chain).mean()
    slope = float(torch.autograd.grad(loss, bias)[0][0])
    values = []
    for shift in (1e-5, -1e-5):
        with torch.no_grad():
            bias[0] += shift
            values.append(float(-policy.log_prob(latent, chain).mean()))
            bias[0] -= shift
    assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-3, abs=1e-8)


def test_ppo_learns_a_toy() -> None:
    learner, policy = _learner()
    environment = ReachTarget(128)
    generator = _generator()

    def score() -> float:
        latent = environment.reset(_generator(99))
        return float(executable(policy.sample(latent, _generator(98)))[:, :, 0].mean())

    before = score()
    for _ in range(15):
        rollout = collect(environment, policy, learner.critic, 4, generator)
        learner.update(rollout, generator)
    assert score() > before + 0.25, (before, score())


def test_strong_bc_keeps_the_policy_where_it_was() -> None:
    free, free_policy = _learner()
    held, held_policy = _learner(bc_scale=20.0)
    for learner, policy in ((free, free_policy), (held, held_policy)):
        generator = _generator()
        for _ in range(6):
            rollout = collect(ReachTarget(), policy, learner.critic, 4, generator)
            learner.update(rollout, generator)

    def shift(policy: DiffusionPolicy) -> float:
        latent = torch.randn(64, 4, generator=_generator(5))
        base = policy.sample_chain(latent, _generator(6), use_base=True).chunk
        return float((policy.sample_chain(latent, _generator(6)).chunk - base).abs().mean())

    assert shift(held_policy) < 0.5 * shift(free_policy)


def test_updates_are_the_same_for_the_same_seed() -> None:
    weights = []
    for _ in range(2):
        learner, policy = _learner(bc_scale=0.05)
        generator = _generator()
        for _ in range(3):
            rollout = collect(ReachTarget(16), policy, learner.critic, 2, generator)
            learner.update(rollout, generator)
        weights.append(torch.cat([p.detach().flatten() for p in learner.actor.parameters()]))
    assert torch.equal(weights[0], weights[1])


def test_only_the_critic_learns_at_first() -> None:
    learner, policy = _learner(critic_iterations=1)
    before = [parameter.detach().clone() for parameter in learner.actor.parameters()]
    critic = [parameter.detach().clone() for parameter in learner.critic.parameters()]
    rollout = collect(ReachTarget(), policy, learner.critic, 2, _generator())
    learner.update(rollout, _generator())
    assert all(torch.equal(a, b) for a, b in zip(before, learner.actor.parameters(), strict=True))
    assert any(
        not torch.equal(a, b) for a, b in zip(critic, learner.critic.parameters(), strict=True)
    )


def test_reward_scale_is_the_deviation_of_the_discounted_return() -> None:
    scaler = RewardScaler(gamma=0.5, clip=10.0)
    reward = torch.tensor([[1.0, 0.0], [1.0, 4.0], [0.0, 0.0]])
    ended = torch.tensor([[False, True], [True, False], [False, False]])
    scaled = scaler(reward, ended)
    returns = torch.tensor([[1.0, 0.0], [1.5, 4.0], [0.0, 2.0]])
    expected = reward / returns.var(correction=0).sqrt()
    torch.testing.assert_close(scaled, expected, atol=1e-3, rtol=1e-3)
    again = RewardScaler(gamma=0.5, clip=10.0)
    again.load(scaler.state())
    assert again.state() == scaler.state()


def _dream(
    dreams: int = 6, threshold: float = 0.5, max_chunks: int = 3, precision: Precision = "fp32"
) -> DreamEnvironment:
    model = tiny_world_model()
    torch.manual_seed(1)
    classifier = SuccessClassifier(
        ClassifierConfig(encoder_units=8, embed=4, head_units=8), model.config.feat
    )
    post = torch.randn(10, 4, 6, generator=_generator(2)).log_softmax(-1)
    bank = StartBank(torch.randn(10, 24, generator=_generator(3)), post)
    config = DreamConfig(
        dreams=dreams, success_threshold=threshold, max_chunks=max_chunks, precision=precision
    )
    return DreamEnvironment(model, classifier, bank, config)


def test_dream_truncates_after_max_chunks_and_starts_anew() -> None:
    dream = _dream(threshold=1.0)
    generator = _generator()
    dream.reset(generator)
    flags = []
    for _ in range(6):
        result = dream.step(torch.zeros(6, 4, 7), generator)
        flags.append(bool(result.truncated.all()))
        same = torch.equal(result.latent, result.final_latent)
        assert same == (not flags[-1])
        assert not bool(result.terminated.any())
    assert flags == [False, False, True, False, False, True]


def test_dream_rounds_products_only_when_told_so() -> None:
    latents = {}
    for precision in ("fp32", "bf16"):
        dream = _dream(threshold=1.0, precision=precision)
        dream.reset(_generator())
        latents[precision] = dream.step(torch.zeros(6, 1, 7), _generator()).final_latent
    difference = (latents["bf16"] - latents["fp32"])[:, :24].abs().max()  # the recurrent part
    assert 0 < difference < 0.02
    assert latents["bf16"].dtype == torch.float32


def test_dream_ends_solved_episodes_with_a_reward() -> None:
    dream = _dream(threshold=0.0)
    dream.reset(_generator())
    result = dream.step(torch.zeros(6, 4, 7), _generator())
    assert bool(result.terminated.all())
    assert result.reward.tolist() == [1.0] * 6
    assert not bool(result.truncated.any())


def test_dream_steps_equal_the_world_models_own_imagination() -> None:
    dream = _dream(threshold=1.0, max_chunks=9)
    dream.reset(_generator(4))
    start = dream._state
    chunk = torch.rand(6, 4, 7, generator=_generator(5))
    result = dream.step(chunk, _generator(6))
    expected = dream.world_model.rssm.imagine(start, chunk, _generator(6))
    torch.testing.assert_close(result.final_latent, expected.feat[:, -1])


def test_success_rate_counts_each_dream_once() -> None:
    policy = DiffusionPolicy(PolicyConfig(hidden=16, steps=4, finetune_steps=2), 48)
    rate, length = success_rate(_dream(threshold=0.0), policy, 3, _generator())
    assert (rate, length) == (1.0, 1.0)
    rate, length = success_rate(_dream(threshold=1.0), policy, 3, _generator())
    assert (rate, length) == (0.0, 3.0)


def test_rollout_shapes() -> None:
    learner, policy = _learner()
    rollout: Rollout = collect(ReachTarget(8), policy, learner.critic, 3, _generator())
    assert rollout.chain.shape == (3, 8, 5, 4, 7)
    assert rollout.log_prob.shape == (3, 8, 4)
    assert rollout.next_value.shape == (3, 8)
