# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The world model's loss and its optimiser, written out with torch.distributions and by hand."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributions

from diwa.train import world_model_stage
from diwa.train.experiment import WorldModelTraining
from diwa.train.metrics import MetricsLog
from diwa.train.progress import NullProgress
from diwa.train.run import StageContext, StopFlag
from diwa.train.step_graph import set_learning_rate
from diwa.train.team import Team
from diwa.train.windows import Batch
from diwa.train.world_model_stage import NOWHERE, WorldModelStep, train_world_model
from diwa.world_model.config import InputConfig
from diwa.world_model.model import WorldModel
from learning_fixtures import (
    pushing_dataset,
    random_observation,
    tiny_experiment,
    tiny_world_model,
)

CPU = torch.device("cpu")
BATCH, LENGTH = 5, 6
SCALES = {"proprio": 0.7, "scene_state": 2.0}
INPUTS = tuple(InputConfig(key=key, recon_scale=scale) for key, scale in SCALES.items())


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _windows() -> tuple[dict[str, Tensor], Tensor, Tensor]:
    action = torch.randn(BATCH, LENGTH, 7, generator=_generator(5)).clamp(-1, 1)
    first = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    first[:, 0] = True
    first[1, 2] = True
    return random_observation(BATCH, LENGTH), action, first


def _one_hot(log_prob: Tensor) -> distributions.Distribution:
    return distributions.Independent(distributions.OneHotCategorical(logits=log_prob), 1)


def _half_squares(prediction: dict[str, Tensor], truth: dict[str, Tensor]) -> Tensor:
    """The weighted reconstruction term of each frame, (B, T)."""
    terms = [
        SCALES[key] * 0.5 * (prediction[key] - truth[key]).pow(2).sum(-1) for key in prediction
    ]
    return torch.stack(terms).sum(0)


def _mean_kl(model: WorldModel) -> float:
    seen = model.observe(*_windows(), generator=_generator())
    return distributions.kl_divergence(_one_hot(seen.post), _one_hot(seen.prior)).mean().item()


@pytest.mark.parametrize("unimix", [0.0, 0.1])
@pytest.mark.parametrize("free", [0.0, 0.9, 1.1])
def test_loss_and_gradients_equal_the_formula_written_with_distributions(
    free: float, unimix: float
) -> None:
    settings = {"inputs": INPUTS, "kl_scale": 0.6, "kl_balance": 0.7, "unimix": unimix}
    nats = free * _mean_kl(tiny_world_model(**settings))
    model = tiny_world_model(**settings, free_nats=nats)
    observation, action, first = _windows()
    loss = model.loss(observation, action, first, _generator())
    gradients = torch.autograd.grad(loss.total, model.parameters(), allow_unused=True)

    seen = model.observe(observation, action, first, generator=_generator())
    post, prior = _one_hot(seen.post), _one_hot(seen.prior)
    still_post, still_prior = _one_hot(seen.post.detach()), _one_hot(seen.prior.detach())
    dyn = distributions.kl_divergence(still_post, prior).mean()
    rep = distributions.kl_divergence(post, still_prior).mean()
    # Free nats bound the mean over all frames: below them nothing is learned from it.
    bounded = [term if term.item() > nats else torch.tensor(nats) for term in (dyn, rep)]
    expected = _half_squares(model.decoder(seen.state.feat), observation).mean()
    expected = expected + 0.6 * (0.7 * bounded[0] + 0.3 * bounded[1])
    wanted = torch.autograd.grad(expected, model.parameters(), allow_unused=True)

    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.dyn, bounded[0].detach())
    torch.testing.assert_close(loss.rep, bounded[1].detach())
    for (name, _), got, want in zip(model.named_parameters(), gradients, wanted, strict=True):
        assert got is not None or want is None, name
        want = torch.zeros_like(got) if want is None else want
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4, msg=name)
        if name.startswith("prior_head"):
            assert bool(got.any()) == (free <= 1), name


def test_kl_balance_leaves_the_posterior_its_own_share() -> None:
    observation, action, first = (
        {key: value[:, :1] for key, value in _windows()[0].items()},
        *(value[:, :1] for value in _windows()[1:]),
    )

    def posterior_gradient(balance: float) -> Tensor:
        model = tiny_world_model(kl_balance=balance, kl_scale=1.0)
        loss = model.loss(observation, action, first, _generator())
        (loss.total - sum(loss.recon.values())).backward()
        gradient = model.rssm.post_out.weight.grad
        return torch.zeros(()) if gradient is None else gradient

    alone = posterior_gradient(0.0)
    assert float(alone.abs().max()) > 0
    torch.testing.assert_close(posterior_gradient(0.8), 0.2 * alone, atol=1e-7, rtol=1e-4)
    assert not posterior_gradient(1.0).any()


def test_overshoot_leaves_windows_with_a_border_among_the_dreamed_steps_out() -> None:
    context = 3
    settings = {"inputs": INPUTS, "overshoot_scale": 1.0, "overshoot_context": context}
    model = tiny_world_model(**settings)
    observation, action, first = _windows()
    first[2, context] = first[4, LENGTH - 1] = True
    loss = model.loss(observation, action, first, _generator())
    draws = _generator()
    state = model.observe(observation, action, first, generator=draws).state.at(context - 1)
    errors = []
    for step in range(context, LENGTH):
        state = model.rssm.imagine_step(state, action[:, step], draws)
        truth = {key: value[:, step] for key, value in observation.items()}
        errors.append(_half_squares(model.decoder(state.feat), truth))
    whole = torch.stack(errors, dim=1)[[0, 1, 3]]
    torch.testing.assert_close(loss.overshoot, whole.mean().detach())


def _mixture(log_prob: Tensor, share: float) -> Tensor:
    """Log-probabilities of all classes: `log_prob` (..., C), or with `share` any class."""
    both = torch.stack((log_prob, torch.zeros_like(log_prob)), dim=-2)
    which = torch.tensor([1 - share, share]).expand(both.shape[:-1])
    mixture = distributions.MixtureSameFamily(
        distributions.Categorical(probs=which), distributions.Categorical(logits=both)
    )
    classes = [torch.full(log_prob.shape[:-1], index) for index in range(log_prob.shape[-1])]
    return torch.stack([mixture.log_prob(index) for index in classes], dim=-1)


@torch.no_grad()
def test_unimix_is_a_mixture_of_the_network_and_the_uniform_distribution() -> None:
    share, count = 0.3, 4000
    plain, mixed = tiny_world_model(), tiny_world_model(unimix=share)
    deter = torch.randn(count, 24, generator=_generator(3))
    observation = {key: value[:, :1] for key, value in random_observation(count, 1).items()}
    action, first = torch.zeros(count, 1, 7), torch.ones(count, 1, dtype=torch.bool)
    for sharp in (1.0, 1000.0):
        for model in (plain, mixed):
            model.rssm.prior_head[3].weight.mul_(sharp)
            model.rssm.post_out.weight.mul_(sharp)
        expected = _mixture(plain.rssm.prior(deter), share)
        torch.testing.assert_close(mixed.rssm.prior(deter), expected, atol=1e-5, rtol=1e-5)
        models = (plain, mixed)
        seen = [m.observe(observation, action, first, generator=_generator()) for m in models]
        expected = _mixture(seen[0].post, share)
        torch.testing.assert_close(seen[1].post, expected, atol=1e-6 * sharp + 1e-5, rtol=0)
    unlikely = seen[1].state.stoch.argmax(-1) != seen[0].post.argmax(-1)
    wanted = (1 - expected.amax(-1).exp()).mean()
    assert float(wanted) == pytest.approx(share * 5 / 6, abs=0.01)
    torch.testing.assert_close(unlikely.float().mean(), wanted, atol=0.01, rtol=0)


@pytest.mark.parametrize("bound", [1.0e-3, 1.0, 1.0e6])
def test_a_step_clips_the_joint_gradient_and_is_adamw_written_out(bound: float) -> None:
    decay, eps, beta1, beta2 = 0.3, 1.0e-5, 0.9, 0.999
    settings = WorldModelTraining(weight_decay=decay, eps=eps, max_grad_norm=bound)
    model = tiny_world_model()
    oracle = copy.deepcopy(model)
    learn = WorldModelStep(model, settings, _generator(), Team())
    batch, draws = Batch(*_windows(), NOWHERE, NOWHERE), _generator()
    weights = list(oracle.parameters())
    first_moment = [torch.zeros_like(w) for w in weights]
    second_moment = [torch.zeros_like(w) for w in weights]
    assert learn.optimiser.param_groups[0]["lr"] == settings.lr
    for step, rate in enumerate((1.0e-2, 4.0e-3, 1.0e-3), start=1):
        set_learning_rate(learn.optimiser, rate, CPU)
        figures, _ = learn(batch, None)
        loss = oracle.loss(batch.observation, batch.previous_action, batch.is_first, draws)
        gradients = torch.autograd.grad(loss.total, weights)
        norm = float(torch.cat([g.flatten() for g in gradients]).double().norm())
        assert norm > 1, "the bounds are meant to lie on both sides"
        assert float(figures["grad_norm"]) == pytest.approx(norm, rel=1e-4), "before clipping"
        for w, g, m, v in zip(weights, gradients, first_moment, second_moment, strict=True):
            clipped = g * min(1.0, bound / norm)
            m.mul_(beta1).add_((1 - beta1) * clipped)
            v.mul_(beta2).add_((1 - beta2) * clipped**2)
            with torch.no_grad():
                w.mul_(1 - rate * decay)
                w.sub_(rate * (m / (1 - beta1**step)) / ((v / (1 - beta2**step)).sqrt() + eps))
        applied = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        assert float(applied.norm()) == pytest.approx(min(norm, bound), rel=1e-4)
    for (name, got), want in zip(model.named_parameters(), weights, strict=True):
        torch.testing.assert_close(got.detach(), want.detach(), atol=2e-5, rtol=1e-4, msg=name)


class Watched(WorldModelStep):
    """Remembers the learning rate that every step is taken with."""

    rates: list[float]  # of the test

    def __call__(self, *args, **kwargs):
        self.rates += [float(group["lr"]) for group in self.optimiser.param_groups]
        return super().__call__(*args, **kwargs)


@pytest.mark.parametrize("final_lr", [None, 1.0e-5])
def test_training_steps_take_the_rates_of_torchs_cosine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, final_lr: float | None
) -> None:
    monkeypatch.setattr(Watched, "rates", [], raising=False)
    monkeypatch.setattr(world_model_stage, "WorldModelStep", Watched)
    plain = tiny_experiment().world_model_training.model_dump()
    changes = {"steps": 9, "lr": 2.0e-3, "final_lr": final_lr, "eval_every": 100}
    config = tiny_experiment(world_model_training={**plain, **changes})
    dataset = pushing_dataset(tmp_path / "data", play=2, demos=1)
    metrics = MetricsLog(tmp_path, tensorboard=False)
    train_world_model(
        StageContext(tmp_path, NullProgress(), metrics, StopFlag()), dataset, config, CPU
    )
    metrics.close()
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0e-3)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 9, eta_min=final_lr or 0.0)
    expected = []
    for _ in range(9):
        expected.append(2.0e-3 if final_lr is None else oracle.get_last_lr()[0])
        optimiser.step()
        oracle.step()
    assert Watched.rates == pytest.approx(expected, rel=1e-6)
