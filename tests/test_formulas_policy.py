# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The noise that denoising adds, and the moving average that cloning saves, recomputed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diwa.data.dataset import Dataset
from diwa.policy import diffusion
from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.policy.schedule import NoiseSchedule
from diwa.train.metrics import MetricsLog
from diwa.train.models import load_policy, make_world_model
from diwa.train.policy_stage import train_policy
from diwa.train.progress import NullProgress
from diwa.train.run import StageContext, StopFlag
from diwa.train.world_model_stage import save_world_model
from learning_fixtures import pushing_dataset, tiny_experiment

CPU = torch.device("cpu")
FEAT, SAMPLES, STEPS = 3, 2000, 6


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _policy(**changes: object) -> tuple[DiffusionPolicy, Tensor]:
    torch.manual_seed(0)
    values = {"hidden": 8, "steps": STEPS, "finetune_steps": STEPS, **changes}
    policy = DiffusionPolicy(PolicyConfig.model_validate(values), FEAT)
    return policy, torch.randn(SAMPLES, FEAT, generator=_generator(7))


def _posterior_std(schedule: NoiseSchedule, k: int) -> float:
    """By Bayes' rule: precisions of the noising step and of the sample before it add up."""
    if k == 0:
        return 0.0
    share = schedule.alpha_bar.double().tolist()
    alpha = share[k] / share[k - 1]
    return (alpha / (1 - alpha) + 1 / (1 - share[k - 1])) ** -0.5


def _clamped_std(limit: float) -> float:
    """Of a unit normal variable that is clamped to +-`limit`."""
    beyond = math.erfc(limit / math.sqrt(2))
    density = math.exp(-(limit**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - beyond - 2 * limit * density + limit**2 * beyond)


def _check_noise(noise: Tensor, std: float, limit: float) -> None:
    """That `noise` is normal with deviation `std`, clamped to `limit` deviations."""
    assert noise.abs().max().item() == pytest.approx(limit * std, rel=1e-4)
    assert noise.std().item() == pytest.approx(_clamped_std(limit) * std, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.02 * std)


def test_clamped_deviation_is_that_of_draws() -> None:
    draws = torch.randn(400_000, generator=_generator(), dtype=torch.float64)
    for limit in (0.7, 1.5):
        expected = draws.clamp(-limit, limit).std().item()
        assert _clamped_std(limit) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(("floor", "limit"), [(0.45, 1.5), (0.1, 0.7), (0.6, 3.0)])
@torch.no_grad()
def test_exploration_noise_has_the_schedules_deviation_a_floor_and_a_clamp(
    floor: float, limit: float
) -> None:
    policy, latent = _policy(min_sampling_std=floor, noise_clip=limit)
    chain = policy.sample_chain(latent, _generator()).chain
    condition, table = policy.base.condition(latent), policy.base.time_table()
    floored = []
    for i, k in enumerate(range(STEPS - 1, -1, -1)):
        mean = policy.schedule.posterior_mean(
            chain[:, i], policy.base(chain[:, i], condition, table[k]), k
        )
        std = _posterior_std(policy.schedule, k)
        floored.append(std < floor)
        _check_noise(chain[:, i + 1] - mean, max(std, floor), limit)
    assert set(floored) == {False, True}, "steps lie on both sides of the floor"


@torch.no_grad()
def test_serving_noise_has_its_own_floor_the_same_clamp_and_ends_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    floor, limit = 0.45, 1.5
    assert diffusion.EVAL_MIN_STD == 1e-3  # too small to be seen: the schedule is always above it
    monkeypatch.setattr(diffusion, "EVAL_MIN_STD", floor)
    policy, latent = _policy(min_sampling_std=0.9, noise_clip=limit)
    entered, means = [], []

    def remember(_: nn.Module, inputs: tuple[Tensor, ...], eps: Tensor) -> None:
        means.append(policy.schedule.posterior_mean(inputs[0], eps, STEPS - 1 - len(means)))
        entered.append(inputs[0].clone())

    policy.base.register_forward_hook(remember)
    chunk = policy.sample(latent, _generator())
    assert len(entered) == STEPS
    for i, after in enumerate([*entered[1:], chunk]):
        k, noise = STEPS - 1 - i, after - means[i]
        if k == 0:
            assert not noise.any()
        else:
            _check_noise(noise, max(_posterior_std(policy.schedule, k), floor), limit)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """Demonstrations, and a world model that has learned nothing."""
    path = tmp_path_factory.mktemp("cloning")
    dataset = pushing_dataset(path / "data", play=1, demos=1)
    torch.manual_seed(0)
    config = tiny_experiment()
    save_world_model(path, make_world_model(config, dataset), config, dataset, [])
    return dataset, path / "model"


def _cloned(folder: Path, data: tuple[Dataset, Path], **training: object) -> Tensor:
    """All weights that cloning saves, flat."""
    plain = {"batch": 16, "lr": 1.0e-2, "final_lr": 1.0e-2, "weight_decay": 0.0, **training}
    config = tiny_experiment(policy_training=plain)
    folder.mkdir()
    metrics = MetricsLog(folder, tensorboard=False)
    context = StageContext(folder, NullProgress(), metrics, StopFlag())
    train_policy(context, data[0], config, CPU, data[1])
    metrics.close()
    base = load_policy(folder / "model", CPU)[0].base
    return torch.cat([value.detach().flatten() for value in base.parameters()])


@pytest.mark.parametrize(("every", "decay"), [(1, 0.8), (2, 0.6)])
def test_cloning_saves_the_exponential_moving_average_of_its_weights(
    tmp_path: Path, data: tuple[Dataset, Path], every: int, decay: float
) -> None:
    steps = 6
    saved = _cloned(tmp_path / "run", data, steps=steps, ema_every=every, ema_decay=decay)
    average = None
    for step in range(every, steps + 1, every):  # an average that forgets all is the last weights
        weights = _cloned(tmp_path / str(step), data, steps=step, ema_every=1, ema_decay=0.0)
        average = weights if average is None else decay * average + (1 - decay) * weights
    torch.testing.assert_close(saved, average, atol=1e-6, rtol=1e-5)
    assert float((saved - weights).abs().max()) > 1e-3, "which is not the last weights"


@pytest.mark.parametrize("warmup", [0, 8])
def test_cloning_takes_its_first_step_with_the_rate_of_the_warm_up(
    tmp_path: Path, data: tuple[Dataset, Path], warmup: int
) -> None:
    torch.manual_seed(tiny_experiment().seed + 11)
    start = DiffusionPolicy(tiny_experiment().policy, 24 + 4 * 6).base
    before = torch.cat([value.detach().flatten() for value in start.parameters()])
    settings = {"steps": 1, "ema_every": 1, "ema_decay": 0.0, "warmup_steps": warmup}
    moved = (_cloned(tmp_path / "run", data, **settings) - before).abs()
    # Adam's first step is the rate itself, in the direction of the gradient.
    assert moved.max().item() == pytest.approx(1.0e-2 / max(1, warmup), rel=1e-3)
