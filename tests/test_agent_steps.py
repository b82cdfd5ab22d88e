# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The models as they are served, one frame at a time, against the models as they are trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diwa.agent import Agent
from diwa.errors import ConfigError
from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.policy.step_chain import StepChain
from diwa.reward.classifier import ClassifierConfig, SuccessClassifier
from diwa.world_model.config import InputConfig
from diwa.world_model.encoders import CnnEncoder
from diwa.world_model.model import WorldModel
from diwa.world_model.step_filter import PatchEncoder, StepFilter
from learning_fixtures import NEUTRAL, tiny_world_model_config, unit_statistics

CAMERAS = (
    InputConfig(key="rgb_static", encoder="cnn"),
    InputConfig(key="rgb_gripper", encoder="cnn"),
    InputConfig(key="proprio", encoder="none", normalise="minmax"),
)


def model_of(**changes):
    """A model whose posteriors are decided, so that rounding does not change a sample."""
    torch.manual_seed(3)
    model = WorldModel(
        tiny_world_model_config(cnn_depth=2, **changes), unit_statistics(), NEUTRAL
    ).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.requires_grad_(False)


def frames_of(model, length=7):
    generator = torch.Generator().manual_seed(1)
    shapes = {"proprio": (18,), "scene_state": (24,)}
    frames = []
    for _ in range(length):
        frames.append(
            {
                item.key: torch.randint(0, 255, (64, 64, 3), generator=generator).to(torch.uint8)
                if item.encoder == "cnn"
                else torch.randn(shapes[item.key], generator=generator)
                for item in model.config.inputs
            }
        )
    return frames, torch.rand(length, 7, generator=generator) * 2 - 1


@pytest.mark.parametrize(
    "changes",
    [{}, {"start_from_observation": True}, {"unimix": 0.05}, {"inputs": CAMERAS}],
    ids=["plain", "start", "unimix", "cameras"],
)
@pytest.mark.parametrize("overlap", [False, True])
def test_filter_of_single_frames_is_the_filter_of_sequences(changes, overlap):
    model = model_of(**changes)
    frames, actions = frames_of(model)
    sequence = {key: torch.stack([f[key] for f in frames])[None] for key in frames[0]}
    first = torch.zeros(1, len(frames), dtype=torch.bool)
    first[0, 0] = True
    expected = model.observe(sequence, actions[None], first, None, torch.Generator().manual_seed(5))
    steps = StepFilter(model, overlap=overlap)
    assert StepFilter.fits(model)
    for _ in range(2):  # the second time after a reset
        steps.reset()
        generator = torch.Generator().manual_seed(5)
        for t, frame in enumerate(frames):
            state = steps.step(frame, actions[t], generator)
            wanted = expected.state.at(t)
            torch.testing.assert_close(state.deter, wanted.deter, atol=1e-5, rtol=1e-5)
            assert torch.equal(state.stoch, wanted.stoch)


def test_image_encoder_of_patches_is_the_convolutions():
    torch.manual_seed(0)
    encoder = CnnEncoder(4)
    image = torch.rand(64, 64, 3) * 2 - 1
    torch.testing.assert_close(PatchEncoder(encoder)(image), encoder(image), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("serve_steps", [None, 3, 8])
def test_chain_of_one_is_the_policys_sample(tuned, serve_steps):
    torch.manual_seed(0)
    config = PolicyConfig(hidden=32, steps=8, finetune_steps=4, blocks=2)
    policy = DiffusionPolicy(config, 40)
    if tuned:
        for parameter in policy.start_finetuning().parameters():
            nn.init.normal_(parameter, std=0.3)
    policy.serve_steps = serve_steps
    chain = StepChain(policy)
    for seed in range(5):
        latent = torch.randn(1, 40)
        expected = policy.sample(latent, torch.Generator().manual_seed(seed))
        sampled = chain.sample(latent, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(sampled, expected, atol=1e-5, rtol=1e-5)


def test_chain_takes_over_new_weights_when_refreshed():
    torch.manual_seed(0)
    policy = DiffusionPolicy(PolicyConfig(hidden=16, steps=4, finetune_steps=2), 12)
    chain, latent = StepChain(policy), torch.randn(1, 12)
    with torch.no_grad():
        for parameter in policy.base.parameters():
            parameter.add_(0.3)
    chain.refresh()
    expected = policy.sample(latent, torch.Generator().manual_seed(1))
    torch.testing.assert_close(chain.sample(latent, torch.Generator().manual_seed(1)), expected)


@pytest.fixture
def agent(lowdim_contract):
    model = model_of()
    policy = DiffusionPolicy(PolicyConfig(hidden=16, steps=6, finetune_steps=3), model.config.feat)
    sizes = ClassifierConfig(encoder_units=8, embed=8, head_units=8)
    classifier = SuccessClassifier(sizes, model.config.feat)
    meta = {
        "contract": lowdim_contract.model_dump(mode="json"),
        "task": "open_drawer",
        "world_model": model.config.model_dump(mode="json"),
        "statistics": {
            k: {n: a.tolist() for n, a in v.items()} for k, v in unit_statistics().items()
        },
        "policy": policy.config.model_dump(mode="json"),
        "feat": model.config.feat,
        "tuned": False,
        "classifier": sizes.model_dump(mode="json"),
    }
    return Agent(model, policy, classifier, meta)


def plans(agent, count=3):
    frame = {"proprio": np.zeros(18, np.float32), "scene_state": np.zeros(24, np.float32)}
    agent.reset(4)
    agent.observe(frame, np.zeros(7, np.float32))
    return [agent.plan() for _ in range(count)]


def test_steps_of_serving_can_be_chosen_when_an_agent_is_loaded(agent, tmp_path):
    agent.save(tmp_path)
    assert Agent.load(tmp_path).policy.serve_steps is None
    few = Agent.load(tmp_path, serve_steps=2)
    agent.policy.serve_steps = 2
    assert np.array_equal(plans(few), plans(agent))
    with pytest.raises(ConfigError, match="serve_steps"):
        Agent.load(tmp_path, serve_steps=7)


def test_hash_is_the_checkpoints(agent, tmp_path):
    assert agent.hash == ""
    agent.save(tmp_path / "one")
    agent.save(tmp_path / "same")
    first = Agent.load(tmp_path / "one").hash
    assert len(first) == 16
    assert Agent.load(tmp_path / "one", serve_steps=2).hash == first
    assert Agent.load(tmp_path / "same").hash == first
    with torch.no_grad():
        agent.policy.base.out.bias.add_(1.0)
    agent.save(tmp_path / "one")
    assert Agent.load(tmp_path / "one").hash != first
