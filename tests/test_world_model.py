# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The RSSM against step-by-step oracles, and what its parts must keep."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import distributions, nn

from diwa.errors import ConfigError
from diwa.world_model.config import InputConfig, WorldModelConfig
from diwa.world_model.model import WorldModel
from diwa.world_model.open_loop import open_loop
from diwa.world_model.rssm import RSSM, State, kl_divergence
from diwa.world_model.sampling import sample_one_hot
from learning_fixtures import NEUTRAL, random_observation, tiny_world_model, unit_statistics


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _windows(batch: int = 3, length: int = 6) -> tuple[dict, torch.Tensor, torch.Tensor]:
    action = torch.randn(batch, length, 7, generator=_generator(5)).clamp(-1, 1)
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    return random_observation(batch, length), action, first


@pytest.mark.parametrize("from_observation", [False, True])
def test_posterior_ignores_history_after_is_first(from_observation: bool) -> None:
    model = tiny_world_model(start_from_observation=from_observation)
    observation, action, first = _windows()
    first[:, 3] = True
    other = {key: value.clone() for key, value in observation.items()}
    for value in other.values():
        value[:, :3] = 9.0
    other_action = action.clone()
    other_action[:, :4] = -1.0  # also the action just before the new episode's first frame
    seen = model.observe(observation, action, first, generator=_generator())
    again = model.observe(other, other_action, first, generator=_generator())
    assert torch.equal(seen.post[:, 3:], again.post[:, 3:])
    assert torch.equal(seen.state.feat[:, 3:], again.state.feat[:, 3:])
    assert not torch.equal(seen.post[:, :3], again.post[:, :3])


def test_observe_of_a_sequence_equals_single_steps() -> None:
    model = tiny_world_model()
    observation, action, first = _windows()
    first[1, 4] = True
    whole = model.observe(observation, action, first, generator=_generator())
    state, generator = None, _generator()
    for t in range(first.shape[1]):
        one = {key: value[:, t : t + 1] for key, value in observation.items()}
        step = model.observe(one, action[:, t : t + 1], first[:, t : t + 1], state, generator)
        state = step.state.at(0)
        torch.testing.assert_close(step.post[:, 0], whole.post[:, t])
        torch.testing.assert_close(step.prior[:, 0], whole.prior[:, t])
        torch.testing.assert_close(state.feat, whole.state.feat[:, t])


def test_imagined_step_equals_the_prior_of_the_observed_sequence() -> None:
    model = tiny_world_model()
    observation, action, first = _windows()
    seen = model.observe(observation, action, first, generator=_generator())
    dreamed = model.rssm.imagine_step(seen.state.at(2), action[:, 3], _generator())
    torch.testing.assert_close(dreamed.deter, seen.state.deter[:, 3])
    index = dreamed.stoch.argmax(-1, keepdim=True)
    assert bool((seen.prior[:, 3].gather(-1, index) > -20).all())


def test_rssm_follows_its_equations_written_out_with_torch_modules() -> None:
    model = tiny_world_model()
    rssm = model.rssm
    observation, action, first = _windows(batch=2, length=2)
    seen = model.observe(observation, action, first, generator=_generator())
    state = seen.state.at(0)
    inputs = nn.functional.elu(
        rssm.in_norm(
            rssm.stoch_in.weight @ state.stoch.flatten(1)[0]
            + rssm.stoch_in.bias
            + rssm.action_in.weight @ action[0, 1]
        )
    )
    deter = rssm.cell(inputs[None], state.deter[:1])
    torch.testing.assert_close(deter[0], seen.state.deter[0, 1])
    embed = model.embed(observation)[0, 1]
    hidden = rssm.post_deter(deter[0]) + rssm.post_embed.weight @ embed
    logits = rssm.post_out(nn.functional.elu(rssm.post_norm(hidden))).reshape(4, 6)
    torch.testing.assert_close(logits.log_softmax(-1), seen.post[0, 1])


@pytest.mark.parametrize("from_observation", [False, True])
@pytest.mark.parametrize("trainable_start", [False, True])
def test_hand_written_gradients_equal_autograd(
    monkeypatch: pytest.MonkeyPatch, trainable_start: bool, from_observation: bool
) -> None:
    observation, action, first = _windows()
    first[1, 3] = True
    results = []
    for fused in (True, False):
        monkeypatch.setattr(RSSM, "_can_fuse", lambda self, embed, fused=fused: fused)
        model = tiny_world_model(start_from_observation=from_observation)
        deter = torch.linspace(-1, 1, 72).reshape(3, 24).requires_grad_(trainable_start)
        start = State(deter, torch.zeros(3, 4, 6))
        resumed = torch.zeros_like(first)
        resumed[1, 3] = True
        seen = model.observe(observation, action, resumed, start, _generator())
        mix = torch.randn(seen.post.shape, generator=_generator(11))
        loss = (seen.post * mix).sum() + (seen.prior.exp() * mix).sum()
        loss = loss + (seen.state.feat * torch.arange(48.0)).mean()
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        if trainable_start:
            assert deter.grad is not None
            gradients["start"] = deter.grad
        results.append((seen, gradients))
    (fused_seen, fused_grads), (plain_seen, plain_grads) = results
    torch.testing.assert_close(fused_seen.post, plain_seen.post)
    torch.testing.assert_close(fused_seen.state.feat, plain_seen.state.feat)
    assert fused_grads.keys() == plain_grads.keys()
    for name, gradient in plain_grads.items():
        torch.testing.assert_close(fused_grads[name], gradient, atol=1e-4, rtol=1e-4)


def test_products_in_bfloat16_change_values_and_gradients_by_their_rounding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    observation, action, first = _windows()

    def fixed(prob: torch.Tensor, generator: object = None) -> torch.Tensor:
        count = prob[..., :1].numel()  # the same samples for both, whatever the rounding
        return (torch.arange(count) * 7 % prob.shape[-1]).view_as(prob[..., :1])

    monkeypatch.setattr("diwa.world_model.fused.draw_index", fixed)
    results = []
    for half in (False, True):
        model = tiny_world_model(start_from_observation=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = model.loss(observation, action, first, _generator())
        loss.total.backward()
        seen = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        results.append((loss, torch.cat(seen)))
    (exact, exact_grad), (rounded, rounded_grad) = results
    assert rounded.total.dtype == rounded_grad.dtype == torch.float32
    assert not torch.equal(rounded_grad, exact_grad)
    torch.testing.assert_close(rounded.total, exact.total, rtol=0.02, atol=0.0)
    assert (rounded_grad - exact_grad).norm() < 0.02 * exact_grad.norm()


def test_first_frame_assumes_the_neutral_action_and_a_zero_state() -> None:
    model = tiny_world_model()
    observation, action, first = _windows()
    seen = model.observe(observation, action, first, generator=_generator())
    moved = action.clone()
    moved[:, 0] = 0.7
    again = model.observe(observation, moved, first, generator=_generator())
    assert torch.equal(seen.state.feat, again.state.feat)
    kept = model.observe(observation, moved, torch.zeros_like(first), generator=_generator())
    assert not torch.equal(seen.post, kept.post)


def test_start_from_observation_puts_the_first_frame_into_deter() -> None:
    observation, action, first = _windows()
    other = {key: value + 1.0 for key, value in observation.items()}
    for expected in (False, True):
        model = tiny_world_model(start_from_observation=expected)
        one = model.observe(observation, action, first, generator=_generator())
        two = model.observe(other, action, first, generator=_generator())
        differs = not torch.equal(one.state.deter[:, 0], two.state.deter[:, 0])
        assert differs == expected


def test_kl_equals_torch_distributions() -> None:
    post = torch.randn(5, 4, 6, generator=_generator(1)).log_softmax(-1)
    prior = torch.randn(5, 4, 6, generator=_generator(2)).log_softmax(-1)
    expected = distributions.kl_divergence(
        distributions.Independent(distributions.OneHotCategorical(logits=post), 1),
        distributions.Independent(distributions.OneHotCategorical(logits=prior), 1),
    )
    torch.testing.assert_close(kl_divergence(post, prior), expected)


def test_samples_follow_their_probabilities_and_pass_gradients_through() -> None:
    logits = torch.tensor([0.5, -1.0, 1.5], requires_grad=True)
    log_prob = logits.log_softmax(-1)
    draws = sample_one_hot(log_prob.expand(40_000, 3), _generator())
    assert set(draws.detach().unique().tolist()) <= {0.0, 1.0} or bool(
        torch.all((draws.detach() - draws.detach().round()).abs() < 1e-6)
    )
    torch.testing.assert_close(draws.detach().mean(0), log_prob.exp().detach(), atol=0.01, rtol=0)
    (sample_one_hot(log_prob, _generator()) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    straight = torch.autograd.grad(
        (logits.softmax(-1) * torch.tensor([1.0, 2.0, 3.0])).sum(), logits
    )[0]
    torch.testing.assert_close(logits.grad, straight)


def test_kl_balance_sends_gradients_to_the_right_side() -> None:
    observation, action, first = _windows()

    def prior_gradient(balance: float) -> float:
        model = tiny_world_model(kl_balance=balance, kl_scale=1.0)
        loss = model.loss(observation, action, first, _generator())
        (loss.total - sum(loss.recon.values())).backward()
        weight = model.rssm.prior_head[3].weight.grad
        return 0.0 if weight is None else float(weight.abs().sum())

    assert prior_gradient(0.0) == 0.0  # only the posterior learns
    assert prior_gradient(0.8) > 0.0
    assert prior_gradient(0.8) == pytest.approx(0.8 * prior_gradient(1.0), rel=1e-4)


def test_reconstruction_term_is_half_the_squared_error() -> None:
    model = tiny_world_model()
    observation, action, first = _windows()
    loss = model.loss(observation, action, first, _generator())
    seen = model.observe(observation, action, first, generator=_generator())
    decoded = model.decoder(seen.state.feat)
    expected = 0.5 * ((decoded["proprio"] - observation["proprio"]) ** 2).sum(-1).mean()
    torch.testing.assert_close(loss.recon["proprio"], expected)
    assert decoded["scene_state"].shape[-1] == 6


def test_overshoot_is_the_error_of_a_dream_after_the_context() -> None:
    model = tiny_world_model(overshoot_scale=1.0, overshoot_context=2)
    observation, action, first = _windows()
    with_it = model.loss(observation, action, first, _generator())
    plain = copy.deepcopy(model)
    plain.config = model.config.model_copy(update={"overshoot_scale": 0.0})
    without = plain.loss(observation, action, first, _generator())
    assert float(with_it.overshoot) > 0
    assert float(without.overshoot) == 0
    torch.testing.assert_close(with_it.total, without.total + with_it.overshoot)


def test_world_model_overfits_one_window() -> None:
    model = tiny_world_model(kl_scale=0.01)
    observation, action, first = _windows(batch=1, length=4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(150):
        loss = model.loss(observation, action, first, _generator())
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        losses.append(float(sum(loss.recon.values()).detach()))
    assert losses[-1] < 0.1 * losses[0], (losses[0], losses[-1])


def test_same_generator_gives_the_same_filtering() -> None:
    model = tiny_world_model()
    observation, action, first = _windows()
    one = model.observe(observation, action, first, generator=_generator(7))
    two = model.observe(observation, action, first, generator=_generator(7))
    other = model.observe(observation, action, first, generator=_generator(8))
    assert torch.equal(one.state.feat, two.state.feat)
    assert not torch.equal(one.state.stoch, other.state.stoch)


def test_paper_sized_vision_model_has_the_papers_sizes() -> None:
    camera = {"encoder": "cnn"}
    config = WorldModelConfig(
        inputs=(
            InputConfig(key="rgb_static", **camera),
            InputConfig(key="rgb_gripper", **camera),
            InputConfig(key="proprio", encoder="none", recon_scale=0.0, normalise="minmax"),
        ),
        shared_projection=True,
        initialise="xavier",
    )
    model = WorldModel(config, unit_statistics(), NEUTRAL)
    assert config.feat == 2048
    assert model.encoder.size == 1554
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 39.8e6 < count < 40.0e6, count
    for part in (model.encoder, model.decoder):
        for module in part.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                assert module.bias is not None and not module.bias.any()
                fan = nn.init._calculate_fan_in_and_fan_out(module.weight)
                spread = float(module.weight.detach().std())
                assert spread == pytest.approx((2 / sum(fan)) ** 0.5, rel=0.05), module
    observation = {
        "rgb_static": torch.randint(0, 255, (1, 2, 64, 64, 3), dtype=torch.uint8),
        "rgb_gripper": torch.randint(0, 255, (1, 2, 64, 64, 3), dtype=torch.uint8),
        "proprio": torch.zeros(1, 2, 18),
    }
    first = torch.tensor([[True, False]])
    loss = model.loss(observation, torch.zeros(1, 2, 7), first, _generator())
    assert set(loss.recon) == {"rgb_static", "rgb_gripper"}
    decoded = model.decode(torch.zeros(1, 2048))
    assert decoded["rgb_static"].shape == (1, 64, 64, 3)


def test_normalisation_survives_a_state_dict_and_inverts() -> None:
    statistics = unit_statistics()
    statistics["proprio"]["mean"] = np.linspace(-1, 1, 18)
    statistics["proprio"]["std"] = np.linspace(0.5, 2, 18)
    torch.manual_seed(0)
    model = WorldModel(tiny_world_model().config, statistics, NEUTRAL)
    other = tiny_world_model()
    other.load_state_dict(model.state_dict())
    observation = random_observation(1, 1)
    normal = other.normalise(observation)["proprio"]
    expected = (observation["proprio"] - torch.linspace(-1, 1, 18)) / torch.linspace(0.5, 2, 18)
    torch.testing.assert_close(normal, expected)
    back = other.normalisers["proprio"].invert(normal)
    torch.testing.assert_close(back, observation["proprio"])


@pytest.mark.parametrize("unimix", [0.0, 0.01])
def test_dream_is_the_end_of_what_is_imagined(unimix: float) -> None:
    model = tiny_world_model(unimix=unimix)
    observation, action, first = _windows(batch=40)
    start = model.observe(observation, action, first, generator=_generator()).state.at(-1).detach()
    before = State(start.deter.clone(), start.stoch.clone())
    dreamed = model.rssm.dream(start, action, _generator(3))
    imagined = model.rssm.imagine(start, action, _generator(3)).at(-1)
    assert torch.equal(dreamed.stoch, imagined.stoch.detach().round())
    torch.testing.assert_close(dreamed.deter, imagined.deter.detach())
    assert not dreamed.deter.requires_grad
    assert torch.equal(start.deter, before.deter) and torch.equal(start.stoch, before.stoch)


def test_dream_with_short_products_stays_near_the_exact_one() -> None:
    model = tiny_world_model()
    start = model.rssm.initial(64)
    action = torch.rand(64, 1, NEUTRAL.numel(), generator=_generator()) * 2 - 1
    exact = model.rssm.dream(start, action, _generator(3))
    with torch.autocast("cpu", torch.bfloat16):
        short = model.rssm.dream(start, action, _generator(3))
        again = model.rssm.dream(start, action, _generator(3))
    assert short.deter.dtype == short.stoch.dtype == torch.float32
    assert torch.equal(short.deter, again.deter) and torch.equal(short.stoch, again.stoch)
    difference = (short.deter - exact.deter).abs().max()
    assert 0 < difference < 0.02 * exact.deter.abs().max()
    same = (short.stoch.argmax(-1) == exact.stoch.argmax(-1)).float().mean()
    assert 0.97 < same <= 1, "the same random numbers draw the same classes but for a few"


def test_open_loop_lets_no_spike_decide_the_mean() -> None:
    model = tiny_world_model()
    observation, action, first = _windows(length=8)
    frozen = {key: value[:, :1].expand_as(value).clone() for key, value in observation.items()}
    far = model.normalisers["proprio"].invert(torch.full((18,), 50.0))
    frozen["proprio"][0, 5, 2] = far[2]
    still = open_loop(model, frozen, action, first, 3, _generator()).still["proprio"]
    batch = len(first)
    assert float(still[2]) == pytest.approx((3 - float(_normal(model, frozen))) ** 2 / (batch * 18))
    assert float(still[[0, 1, 3, 4]].abs().sum()) == 0


def _normal(model: WorldModel, observation: dict[str, torch.Tensor]) -> torch.Tensor:
    first = {key: value[:, 0] for key, value in observation.items()}
    return model.normalise(first)["proprio"][0, 2].clamp(-3, 3)


def test_open_loop_of_a_still_world_has_no_error_for_predicting_no_change() -> None:
    model = tiny_world_model()
    observation, action, first = _windows(length=8)
    frozen = {key: value[:, :1].expand_as(value) for key, value in observation.items()}
    result = open_loop(model, frozen, action, first, 3, _generator())
    assert result.still["proprio"].shape == (5,)
    assert float(result.still["proprio"].abs().sum()) == 0
    assert float(result.error["proprio"].min()) > 0
    assert result.latent.deter.shape == (3, 5, 24)


def test_unknown_input_key_is_a_clear_error() -> None:
    config = WorldModelConfig(inputs=(InputConfig(key="lidar"),))
    with pytest.raises(ConfigError, match="lidar"):
        WorldModel(config, unit_statistics(), NEUTRAL)


def test_state_at_keeps_both_parts_together() -> None:
    state = State(torch.arange(12.0).reshape(2, 2, 3), torch.zeros(2, 2, 2, 2))
    assert state.at(1).deter.tolist() == [[3.0, 4.0, 5.0], [9.0, 10.0, 11.0]]
    assert state.at(1).stoch.shape == (2, 2, 2)
    assert state.feat.shape == (2, 2, 7)


def test_an_entry_that_never_moved_is_not_blown_up() -> None:
    statistics = unit_statistics()
    statistics["scene_state"]["std"][0] = 0.0
    model = WorldModel(tiny_world_model().config, statistics, NEUTRAL)
    observation = random_observation(1, 1)
    observation["scene_state"][..., 0] = 0.28
    assert float(model.normalise(observation)["scene_state"][0, 0, 0]) == pytest.approx(0.28)
