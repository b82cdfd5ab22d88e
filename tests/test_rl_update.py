# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The update's arithmetic: hand-written gradients, rounded products, no look at the device."""

from __future__ import annotations

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from diwa.policy import fused_denoiser
from diwa.policy.config import PolicyConfig
from diwa.policy.denoiser import Denoiser
from diwa.policy.diffusion import DiffusionPolicy
from diwa.policy.fused_denoiser import EXACT, Products, denoise_all, mish_and_slope
from diwa.reward.classifier import ClassifierConfig, SuccessClassifier
from diwa.rl import precision
from diwa.rl.config import DreamConfig, PPOConfig
from diwa.rl.critic import Critic
from diwa.rl.dream import DreamEnvironment, StartBank
from diwa.rl.environment import StepResult
from diwa.rl.ppo import PPO, policy_loss
from diwa.rl.rollout import Rollout, collect
from learning_fixtures import tiny_world_model

SHORT = torch.bfloat16
CPU = torch.device("cpu")
ROUNDED = Products(backward=SHORT)
BOTH = Products(SHORT, SHORT)


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Wander:
    """Four numbers that nothing changes; episodes end now and then."""

    count = 12

    def reset(self, generator: torch.Generator) -> torch.Tensor:
        return torch.randn(self.count, 16, generator=generator)

    def step(self, chunk: torch.Tensor, generator: torch.Generator) -> StepResult:
        solved = torch.rand(self.count, generator=generator) < 0.3
        latent = self.reset(generator)
        return StepResult(latent, latent, solved.float(), solved, ~solved)


def _learner(**changes: object) -> tuple[PPO, Rollout]:
    torch.manual_seed(0)
    policy = DiffusionPolicy(PolicyConfig(hidden=64, steps=6, finetune_steps=4), 16)
    policy.start_finetuning()
    settings = {
        "chunks": 5,
        "epochs": 3,
        "batch": 20,
        "actor_lr": 1.0e-3,
        "warmup_iterations": 0,
        "critic_iterations": 0,
        "bc_scale": 0.05,
        "bc_samples": 30,
        "clip_coef": 0.2,
        "clip_coef_base": 0.05,
        **changes,
    }
    critic = Critic(16, 32)
    learner = PPO(policy, critic, PPOConfig.model_validate(settings))
    return learner, collect(Wander(), policy, critic, 5, _generator())  # type: ignore[arg-type]


def _weights(learner: PPO) -> torch.Tensor:
    modules = (learner.actor, learner.critic)
    return torch.cat([p.detach().flatten() for m in modules for p in m.parameters()])


def test_mish_and_its_slope_equal_torchs() -> None:
    x = torch.linspace(-40, 90, 20_001, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.mish(x)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    value, found = mish_and_slope(x.detach())
    torch.testing.assert_close(value, expected.detach(), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found, slope, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("blocks", "rows"), [(1, 512), (2, 512), (3, 7), (1, 1)])
def test_fused_denoiser_equals_the_plain_one_with_its_gradients(
    blocks: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused_denoiser, "BLOCK", rows)
    torch.manual_seed(blocks)
    net = Denoiser(PolicyConfig(hidden=24, blocks=blocks, steps=5, finetune_steps=3), 10).double()
    x = torch.randn(9, 3, 4, 7, dtype=torch.float64)
    latent = torch.randn(9, 10, dtype=torch.float64)
    k = torch.tensor([2, 1, 0])
    mix = torch.randn(9, 3, 4, 7, dtype=torch.float64)
    results = []
    for fused in (False, True):
        net.zero_grad()
        time = net.time_table()[k]
        if fused:
            noise = denoise_all(net, x, latent, time)
        else:
            noise = net(x, net.condition(latent).unsqueeze(1), time)
        (noise * mix).sum().backward()
        gradients = {name: p.grad.clone() for name, p in net.named_parameters()}
        results.append((noise.detach(), gradients))
    torch.testing.assert_close(results[1][0], results[0][0], atol=1e-12, rtol=1e-12)
    for name, gradient in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], gradient, atol=1e-10, rtol=1e-10, msg=name)


def _gradient(learner: PPO, rollout: Rollout, products: Products) -> tuple[torch.Tensor, ...]:
    latent, chain = rollout.latent.flatten(0, 1), rollout.chain.flatten(0, 1)
    learner.actor.zero_grad()
    log_prob = learner.policy.log_prob(latent, chain, products)
    advantage = torch.randn(len(latent), generator=_generator(5))
    old = rollout.log_prob.flatten(0, 1)
    policy_loss(log_prob, old, advantage, learner.clip, 0.99).total.backward()
    parts = [p.grad.flatten() for p in learner.actor.parameters() if p.grad is not None]
    return log_prob.detach(), torch.cat(parts)


def test_rounded_gradients_are_close_and_ratios_exact() -> None:
    learner, rollout = _learner()
    exact, expected = _gradient(learner, rollout, EXACT)
    same, rounded = _gradient(learner, rollout, ROUNDED)
    assert torch.equal(same, exact), "ratios do not know of the rounding"
    assert not torch.equal(rounded, expected)
    assert float((rounded - expected).norm() / expected.norm()) < 0.02
    near, both = _gradient(learner, rollout, BOTH)
    assert 0 < float((near - exact).abs().max()) < 0.05
    assert float(torch.nn.functional.cosine_similarity(both, expected, dim=0)) > 0.99


def test_rounded_update_goes_where_the_exact_one_goes() -> None:
    start = _weights(_learner()[0])
    moved = []
    for name in ("fp32", "bf16"):
        learner, rollout = _learner(precision=name)
        result = learner.update(rollout, _generator(3))
        assert result.epochs == 3
        moved.append(_weights(learner) - start)
    assert not torch.equal(*moved)
    assert float(torch.nn.functional.cosine_similarity(*moved, dim=0)) > 0.97


def test_precision_follows_the_machine_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for able in (True, False):
        monkeypatch.setattr(precision, "multiplies_bf16", lambda device, able=able: able)
        assert precision.products_of("fp32", CPU) == (EXACT, EXACT)
        assert precision.products_of("bf16", CPU) == (ROUNDED, BOTH)
        assert precision.products_of("auto", CPU) == ((ROUNDED, BOTH) if able else (EXACT, EXACT))
    assert precision.multiplies_bf16(torch.device("meta")) in (True, False)


def test_learning_ends_after_the_epoch_that_moved_too_far() -> None:
    stopped, rollout = _learner(epochs=5, target_kl=1e-9)
    result = stopped.update(rollout, _generator(3))
    assert result.epochs == 1
    once, rollout = _learner(epochs=1)
    expected = once.update(rollout, _generator(3))
    assert torch.equal(_weights(stopped), _weights(once)), "later steps do nothing"
    assert result == expected, "and their figures do not count"
    states = [learner.actor_optimiser.state_dict()["state"][0] for learner in (stopped, once)]
    assert states[0]["step"] == states[1]["step"]
    again = stopped.update(rollout, _generator(4))
    assert again.epochs == 1, "the next update learns again"
    assert not torch.equal(_weights(stopped), _weights(once))


class _NoReading(TorchFunctionMode):
    """Fails when a tensor's content is wanted outside of the device."""

    HOST = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__")

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        assert name not in self.HOST, f"{name}: the device is waited for"
        return func(*args, **(kwargs or {}))


class _NoScalars(TorchDispatchMode):
    """The same, below Python's methods."""

    WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        assert name not in self.WAITS and not masks, f"{name}: the device is waited for"
        assert "device" not in (kwargs or {}) or kwargs["device"] in (None, CPU), kwargs
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("changes", [{}, {"max_grad_norm": 1.0}, {"precision": "bf16"}])
def test_nothing_is_read_from_the_device_while_learning(changes: dict) -> None:
    learner, rollout = _learner(**changes)
    with _NoReading(), _NoScalars():
        reward = learner.scaler(rollout.reward, rollout.ended)
        data = learner.flatten(rollout, reward)
        log = learner._learn(data, _generator(3))
    assert log.result(data.ret, data.advantage).epochs == 3


def _dream() -> DreamEnvironment:
    model = tiny_world_model(unimix=0.01)  # which takes the loop that GPUs take
    units = ClassifierConfig(encoder_units=8, embed=4, head_units=8)
    classifier = SuccessClassifier(units, model.config.feat)
    starts = StartBank(torch.randn(10, 24), torch.randn(10, 4, 6).log_softmax(-1))
    return DreamEnvironment(model, classifier, starts, DreamConfig(dreams=6, max_chunks=2))


def test_nothing_is_read_from_the_device_while_dreaming() -> None:
    torch.manual_seed(0)
    dream = _dream()
    feat = dream.world_model.config.feat
    policy = DiffusionPolicy(PolicyConfig(hidden=16, steps=6, finetune_steps=4), feat)
    policy.start_finetuning()
    critic = Critic(feat, 8)
    with _NoReading(), _NoScalars():
        rollout = collect(dream, policy, critic, 5, _generator())
    assert rollout.ended.any(), "starts anew are among it"


def test_the_guard_sees_what_it_forbids() -> None:
    value = torch.ones(3)
    for read in (
        lambda: value.sum().item(),
        lambda: float(value.sum()),
        lambda: value.cpu(),
        lambda: value.tolist(),
        lambda: bool(value.any()),
        lambda: value[value > 0],
    ):
        with pytest.raises(AssertionError, match="waited for"), _NoReading(), _NoScalars():
            read()


def test_figures_of_an_update_without_the_actor_are_zero() -> None:
    learner, rollout = _learner(critic_iterations=1)
    result = learner.update(rollout, _generator())
    assert result.kl == [0.0] * 4
    assert (result.policy_loss, result.bc_loss, result.epochs) == (0.0, 0.0, 3)
    assert result.value_loss > 0
