# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The noise schedule and the diffusion policy against diffusers and torch.distributions."""

from __future__ import annotations

import pytest
import torch
from torch import distributions

from diwa.policy.actions import executable
from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.policy.schedule import NoiseSchedule
from diwa.train.experiment import PolicyTraining
from diwa.train.policy_stage import learning_rate

FEAT = 12
diffusers = pytest.importorskip("diffusers", reason="oracle not installed")


def _policy(seed: int = 0, **changes: object) -> DiffusionPolicy:
    torch.manual_seed(seed)
    config = PolicyConfig.model_validate({"hidden": 32, **changes})
    return DiffusionPolicy(config, FEAT)


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _latent(batch: int = 5) -> torch.Tensor:
    return torch.randn(batch, FEAT, generator=_generator(9))


def test_schedule_has_the_known_posterior_deviations_for_twenty_steps() -> None:
    known = [0, 0.076, 0.123, 0.162, 0.195, 0.226, 0.255, 0.283, 0.311, 0.339, 0.369, 0.401]
    known += [0.435, 0.474, 0.519, 0.573, 0.641, 0.731, 0.857, 0.997]
    torch.testing.assert_close(NoiseSchedule(20).std, torch.tensor(known), atol=1.5e-3, rtol=0)


def test_posterior_mean_equals_diffusers_ddpm_step() -> None:
    schedule = NoiseSchedule(20)
    points = torch.cat((torch.ones(1, dtype=torch.float64), schedule.alpha_bar.double()))
    oracle = diffusers.DDPMScheduler(
        num_train_timesteps=20,
        trained_betas=(1 - points[1:] / points[:-1]).numpy(),
        variance_type="fixed_small",
        clip_sample=True,
        prediction_type="epsilon",
    )
    oracle.set_timesteps(20)
    x = torch.randn(3, 4, 7, generator=_generator(2))
    eps = torch.randn(3, 4, 7, generator=_generator(3))
    for k in range(20):
        result = oracle.step(eps, k, x, generator=_generator(k)).prev_sample
        mean = schedule.posterior_mean(x, eps, k)
        if k == 0:
            torch.testing.assert_close(mean, result, atol=1e-4, rtol=1e-4)
            continue
        noise = torch.randn(x.shape, generator=_generator(k))
        expected = mean + schedule.std[k] * noise
        torch.testing.assert_close(expected, result, atol=2e-4, rtol=2e-4)
        many = schedule.posterior_mean(x, eps, torch.full((3,), k))
        torch.testing.assert_close(many, mean)


def test_learning_rate_grows_then_follows_torchs_cosine() -> None:
    settings = PolicyTraining(steps=100, lr=1.0e-3, final_lr=1.0e-5, warmup_steps=10)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0e-3)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 100, eta_min=1.0e-5)
    for index in range(100):
        share = min(1.0, (index + 1) / 10)
        expected = share * oracle.get_last_lr()[0]
        assert learning_rate(settings, index) == pytest.approx(expected, rel=1e-6)
        optimiser.step()
        oracle.step()
    plain = settings.model_copy(update={"warmup_steps": 0})
    assert learning_rate(plain, 0) == 1.0e-3


@pytest.mark.parametrize("count", [1, 2, 5, 10, 20])
def test_ddim_chain_equals_diffusers(count: int) -> None:
    policy = _policy(serve_steps=count)
    net, latent, schedule = policy.base, _latent(), policy.schedule
    points = torch.cat((torch.ones(1, dtype=torch.float64), schedule.alpha_bar.double()))
    oracle = diffusers.DDIMScheduler(
        num_train_timesteps=20,
        trained_betas=(1 - points[1:] / points[:-1]).numpy(),
        clip_sample=True,
        timestep_spacing="trailing",
    )
    oracle.set_timesteps(count)
    assert schedule.ddim_steps(count) == oracle.timesteps.tolist()
    x = torch.randn(len(latent), 4, 7, generator=_generator())
    with torch.no_grad():
        for k in oracle.timesteps:
            eps = net(x, net.condition(latent), net.time_table()[k])
            x = oracle.step(eps, k, x, use_clipped_model_output=True).prev_sample
    sampled = policy.sample(latent, _generator())
    torch.testing.assert_close(sampled, x, atol=2e-3, rtol=2e-3)


def test_ddim_uses_the_finetuned_denoiser_in_the_last_steps_only() -> None:
    policy = _policy(serve_steps=4, finetune_steps=5)  # steps 19, 14, 9, 4
    before = policy.sample(_latent(), _generator())
    actor = policy.start_finetuning()
    assert torch.equal(policy.sample(_latent(), _generator()), before)
    with torch.no_grad():
        actor.out.weight.zero_()
        actor.out.bias.zero_()
    latent, schedule, net = _latent(), policy.schedule, policy.base
    x = torch.randn(len(latent), 4, 7, generator=_generator())
    with torch.no_grad():
        for k, following in ((19, 14), (14, 9), (9, 4)):
            eps = net(x, net.condition(latent), net.time_table()[k])
            x = schedule.ddim_step(x, eps, k, following)
    clean = (x * schedule.x0_from_x[4]).clamp(-1, 1)  # no noise predicted
    torch.testing.assert_close(policy.sample(latent, _generator()), clean)


def test_more_serve_steps_than_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="serve_steps"):
        PolicyConfig(steps=10, finetune_steps=5, serve_steps=11)


def test_added_noise_equals_diffusers() -> None:
    schedule = NoiseSchedule(20)
    oracle = diffusers.DDPMScheduler(num_train_timesteps=20, beta_schedule="squaredcos_cap_v2")
    clean = torch.randn(20, 4, 7, generator=_generator(2))
    noise = torch.randn(20, 4, 7, generator=_generator(3))
    k = torch.arange(20)
    expected = oracle.add_noise(clean, noise, k)
    torch.testing.assert_close(schedule.add_noise(clean, noise, k), expected, atol=1e-4, rtol=1e-4)


def test_log_prob_equals_torch_distributions() -> None:
    policy = _policy()
    latent = _latent()
    sampled = policy.sample_chain(latent, _generator())
    count = policy.config.finetune_steps
    expected = []
    for i, k in enumerate(range(count - 1, -1, -1)):
        x = sampled.chain[:, i]
        eps = policy.base(x, policy.base.condition(latent), policy.base.time_table()[k])
        mean = policy.schedule.posterior_mean(x, eps, k)
        std = policy.schedule.std[k].clamp_min(policy.config.min_sampling_std)
        element = distributions.Normal(mean, std).log_prob(sampled.chain[:, i + 1])
        expected.append(element.clamp(-5, 2).mean(dim=(1, 2)))
    torch.testing.assert_close(policy.log_prob(latent, sampled.chain), torch.stack(expected, 1))


def test_log_probs_kept_from_sampling_equal_the_recomputed_ones() -> None:
    policy = _policy()
    policy.start_finetuning()
    sampled = policy.sample_chain(_latent(), _generator())
    again = policy.log_prob(_latent(), sampled.chain)
    torch.testing.assert_close(sampled.log_prob, again, atol=1e-5, rtol=1e-5)
    assert torch.equal(sampled.chain[:, -1], sampled.chunk)


def test_log_prob_counts_only_executed_actions() -> None:
    policy = _policy(pred_horizon=6, act_horizon=3)
    chain = policy.sample_chain(_latent(), _generator()).chain
    changed = chain.clone()
    changed[:, -1, 3:] += 1.0  # beyond act_horizon in the final sample
    torch.testing.assert_close(
        policy.log_prob(_latent(), chain)[:, -1], policy.log_prob(_latent(), changed)[:, -1]
    )


def test_finetuning_copy_changes_only_the_last_steps() -> None:
    policy = _policy()
    latent = _latent()
    before = policy.sample_chain(latent, _generator())
    actor = policy.start_finetuning()
    same = policy.sample_chain(latent, _generator())
    assert torch.equal(before.chain, same.chain)
    with torch.no_grad():
        actor.out.bias += 0.3
    after = policy.sample_chain(latent, _generator())
    assert torch.equal(before.chain[:, 0], after.chain[:, 0])
    assert not torch.equal(before.chunk, after.chunk)
    base = policy.sample_chain(latent, _generator(), use_base=True)
    assert torch.equal(before.chain, base.chain)
    assert not any(parameter.requires_grad for parameter in policy.base.parameters())


def test_serving_sample_is_deterministic_for_a_seed_and_noiseless_at_the_end() -> None:
    policy = _policy()
    one = policy.sample(_latent(), _generator(4))
    two = policy.sample(_latent(), _generator(4))
    assert torch.equal(one, two)
    assert bool((one.abs() <= 1 + 1e-5).all())  # the last mean is the clipped x0 itself


def test_policy_overfits_one_chunk() -> None:
    policy = _policy(hidden=64)
    chunk = torch.linspace(-0.9, 0.9, 28).reshape(1, 4, 7)
    latent = torch.ones(1, FEAT)
    optimiser = torch.optim.Adam(policy.parameters(), lr=3e-3)
    generator = _generator()
    for _ in range(1500):
        loss = policy.loss(latent.expand(64, -1), chunk.expand(64, -1, -1), generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    error = (policy.sample(latent, generator) - chunk).abs().max()
    assert float(error) < 0.15, float(error)


def test_executable_clips_and_makes_the_gripper_binary() -> None:
    action = torch.tensor([2.0, -3.0, 0.5, 0.0, 0.0, 0.0, 0.1])
    assert executable(action).tolist() == [1.0, -1.0, 0.5, 0.0, 0.0, 0.0, 1.0]
    assert executable(torch.zeros(7))[6] == 1.0
    assert executable(torch.full((2, 3, 7), -0.01))[..., 6].unique().tolist() == [-1.0]
