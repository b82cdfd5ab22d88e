# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A second opinion on dreams, and the referee's dream in the robot's place."""

from __future__ import annotations

import math

import pytest
import torch

from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.reward.classifier import ClassifierConfig, SuccessClassifier
from diwa.rl.config import DreamConfig
from diwa.rl.dream import DreamEnvironment, StartBank, encode_starts
from diwa.rl.referee import CrossEnvironment, Referee, second_opinion
from diwa.rl.rollout import success_rate
from diwa.world_model.config import InputConfig
from diwa.world_model.model import WorldModel
from learning_fixtures import random_observation, tiny_world_model


class Never(torch.nn.Module):
    """Never sees a success."""

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(latent))


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _certain(seed: int) -> WorldModel:
    """A world model without chance: every variable has one class."""
    return tiny_world_model(seed, classes=1).eval()


def _starts(model: WorldModel) -> StartBank:
    frames = {key: value[:, 0] for key, value in random_observation(10, 1, seed=5).items()}
    return encode_starts(model, frames)


def _classifier(model: WorldModel, seed: int = 1) -> SuccessClassifier:
    torch.manual_seed(seed)
    sizes = ClassifierConfig(encoder_units=8, embed=4, head_units=8)
    return SuccessClassifier(sizes, model.config.feat).eval()


def _referee(seed: int) -> Referee:
    model = _certain(seed)
    return Referee(model, _classifier(model, seed), _starts(model))


def _policy(feat: int) -> DiffusionPolicy:
    torch.manual_seed(0)
    return DiffusionPolicy(PolicyConfig(hidden=16, steps=4, finetune_steps=2), feat)


def _dream(seed: int, threshold: float, max_chunks: int = 4) -> DreamEnvironment:
    own = _referee(seed)
    config = DreamConfig(dreams=12, success_threshold=threshold, max_chunks=max_chunks)
    return DreamEnvironment(own.world_model, own.classifier, own.starts, config)


@torch.no_grad()
def _median_probability(dream: DreamEnvironment) -> float:
    return float(dream.classifier(dream.starts.at(torch.arange(10), _generator()).feat).median())


def test_referee_equal_to_the_dreamer_confirms_everything() -> None:
    threshold = _median_probability(_dream(0, 0.5))
    dream = _dream(0, threshold)
    policy = _policy(dream.world_model.config.feat)
    opinion = second_opinion(dream, _referee(0), policy, _generator())
    assert opinion.own == opinion.referee
    assert opinion.gap == 0


def test_gap_is_what_another_referee_does_not_confirm() -> None:
    dream = _dream(0, threshold=0.0)
    policy = _policy(dream.world_model.config.feat)
    stern = _referee(7)._replace(classifier=Never())
    opinion = second_opinion(dream, stern, policy, _generator())
    assert (opinion.own, opinion.referee, opinion.gap) == (1.0, 0.0, 1.0)
    assert math.isnan(opinion.learned)
    kind = stern._replace(learned=_classifier(stern.world_model, 7))
    both = second_opinion(dream, kind, policy, _generator())
    assert (both.own, both.referee, both.learned) == (1.0, 0.0, 1.0)


def test_both_dreams_of_an_opinion_start_at_the_same_frames() -> None:
    dream, referee = _dream(0, threshold=0.5), _referee(7)
    short = StartBank(referee.starts.deter[:5], referee.starts.post[:5])
    policy = _policy(dream.world_model.config.feat)
    with pytest.raises(AssertionError, match="other frames"):
        second_opinion(dream, referee._replace(starts=short), policy, _generator())


def test_cross_environment_filters_what_the_referees_dream_shows() -> None:
    own, referee = _certain(0), _referee(7)
    config = DreamConfig(dreams=6, success_threshold=1.0, max_chunks=9)
    environment = CrossEnvironment(own, _starts(own), referee, config)
    environment.reset(_generator(4))
    index = environment.starts.pick(6, _generator(4))
    chunks = [torch.rand(6, 4, 7, generator=_generator(seed)) for seed in (5, 6)]
    for chunk in chunks:
        result = environment.step(chunk, _generator())
    actions = torch.cat(chunks, dim=1)
    with torch.no_grad():
        start = referee.starts.at(index, _generator())
        dreamed = referee.world_model.rssm.imagine(start, actions, _generator())
        shown = referee.world_model.decode(dreamed.feat)
        full = {key: random_observation(6, 8)[key] * 0 for key in shown}
        full["proprio"] = shown["proprio"]
        full["scene_state"][..., :6] = shown["scene_state"]
        first = torch.zeros(6, 8, dtype=torch.bool)
        before = own.rssm.initial(6)._replace(
            deter=environment.starts.deter[index], stoch=torch.ones(6, 4, 1)
        )
        seen = own.observe(full, actions, first, before, _generator())
    torch.testing.assert_close(result.final_latent, seen.state.feat[:, -1], atol=1e-5, rtol=1e-4)


def test_cross_environment_is_judged_by_the_referee_and_starts_anew() -> None:
    own, referee = _certain(0), _referee(7)
    config = DreamConfig(dreams=6, success_threshold=0.0, max_chunks=9)
    environment = CrossEnvironment(own, _starts(own), referee, config)
    environment.reset(_generator(4))
    result = environment.step(torch.zeros(6, 4, 7), _generator())
    assert bool(result.terminated.all())
    starts = {tuple(row) for row in environment.starts.deter.tolist()}
    assert all(tuple(row) in starts for row in result.latent[:, :24].tolist())
    rate, length = success_rate(environment, _policy(own.config.feat), 5, _generator())
    assert (rate, length) == (1.0, 1.0)


def test_cross_environment_needs_everything_decoded() -> None:
    inputs = (InputConfig(key="proprio", recon_scale=0.0), InputConfig(key="scene_state"))
    silent = tiny_world_model(inputs=inputs)
    assert CrossEnvironment.possible(tiny_world_model(), tiny_world_model(3))
    assert not CrossEnvironment.possible(tiny_world_model(), silent)
