# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""World models of images: targets that are never looked at, and cheaper training steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from diwa.agent import Agent
from diwa.config import load_config
from diwa.errors import ConfigError
from diwa.train.agents import assemble_agent
from diwa.train.experiment import ExperimentConfig
from diwa.train.pipeline import learning_stages
from diwa.train.run import Run, run_stages
from diwa.world_model.config import InputConfig, WorldModelConfig
from diwa.world_model.decoders import CnnDecoder
from diwa.world_model.encoders import Normaliser
from diwa.world_model.model import WorldModel, WorldModelLoss
from learning_fixtures import (
    ROOT,
    pushing_dataset,
    random_observation,
    tiny_experiment,
    tiny_world_model,
)

INPUTS = (
    InputConfig(key="rgb_static", encoder="cnn", recon_scale=0.1),
    InputConfig(key="proprio"),
    InputConfig(key="scene_state", encoder="target", indices=(0, 1)),
)
BATCH, LENGTH = 2, 4
pytestmark = pytest.mark.usefixtures("simulator_unloaded")


def _model(**changes: object) -> WorldModel:
    return tiny_world_model(inputs=INPUTS, cnn_depth=2, **changes)


def _observation(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    size = (BATCH, LENGTH, 64, 64, 3)
    image = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    image //= torch.arange(1, LENGTH + 1, dtype=torch.uint8)[:, None, None, None]  # unlike frames
    return {"rgb_static": image, **random_observation(BATCH, LENGTH, seed)}


def _first() -> torch.Tensor:
    first = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    first[:, 0] = True
    return first


def _loss(model: WorldModel, seed: int = 0) -> WorldModelLoss:
    generator = torch.Generator().manual_seed(seed)
    return model.loss(_observation(), torch.zeros(BATCH, LENGTH, 7), _first(), generator)


def test_a_target_is_predicted_and_never_looked_at() -> None:
    model, seen, other = _model(), _observation(), _observation(seed=1)
    assert model.config.observed == ("rgb_static", "proprio")
    changed = {**seen, "scene_state": other["scene_state"]}
    without = {key: value for key, value in seen.items() if key != "scene_state"}
    assert torch.equal(model.embed(seen), model.embed(changed))
    assert torch.equal(model.embed(seen), model.embed(without))
    loss = _loss(model)
    assert set(loss.recon) == {"rgb_static", "proprio", "scene_state"}
    loss.recon["scene_state"].backward()
    first_layer = next(model.encoder.encoders["rgb_static"].parameters())
    assert first_layer.grad is not None and first_layer.grad.abs().sum() > 0


def test_a_model_must_look_at_something_and_every_input_have_a_use() -> None:
    with pytest.raises(ValueError, match="at least one input"):
        WorldModelConfig(inputs=(InputConfig(key="scene_state", encoder="target"),))
    with pytest.raises(ValueError, match="neither looked at nor predicted"):
        InputConfig(key="scene_state", encoder="target", recon_scale=0.0)


def test_first_layer_of_the_decoder_equals_the_transposed_convolution() -> None:
    torch.manual_seed(0)
    decoder = CnnDecoder(feat=12, depth=3)
    feat = torch.randn(2, 3, 12)
    column = decoder.project(feat).reshape(6, -1, 1, 1)
    expected = decoder.layers(column).permute(0, 2, 3, 1).reshape(2, 3, 64, 64, 3)
    torch.testing.assert_close(decoder(feat), expected, atol=1e-6, rtol=1e-5)
    assert isinstance(decoder.layers[0], nn.ConvTranspose2d)  # its weights load as they were


def test_images_are_normalised_without_changing_what_was_given() -> None:
    normaliser = Normaliser(InputConfig(key="rgb_static", encoder="cnn"), {})
    for dtype in (torch.uint8, torch.float32):
        image = torch.tensor([0, 51, 255], dtype=dtype)
        kept = image.clone()
        assert normaliser(image).tolist() == pytest.approx([-1.0, -0.6, 1.0])
        assert torch.equal(image, kept)


def test_a_share_of_the_images_is_decoded_and_estimates_the_same_loss() -> None:
    whole, model = _model(), _model(image_share=0.25)
    decoded: list[int] = []
    model.decoder.images["rgb_static"].register_forward_pre_hook(
        lambda module, inputs: decoded.append(inputs[0].flatten(0, -2).shape[0])
    )
    ratios = []
    for seed in range(60):  # frames are drawn after the latents, which are therefore the same
        full, few = _loss(whole, seed).recon, _loss(model, seed).recon
        ratios.append(float((few["rgb_static"] / full["rgb_static"]).detach()))
        for key in ("proprio", "scene_state"):  # vectors are decoded everywhere
            assert few[key] == full[key]
    assert set(decoded) == {BATCH * LENGTH // 4}
    assert np.std(ratios) > 0.01
    assert np.mean(ratios) == pytest.approx(1, abs=4 * np.std(ratios) / np.sqrt(len(ratios)))
    assert _loss(model).total == _loss(model).total


def test_overshoot_is_measured_on_the_same_share_of_images() -> None:
    changes = {"overshoot_scale": 1.0, "overshoot_context": 2, "image_share": 0.5}
    loss = _loss(_model(**changes))
    assert loss.overshoot > 0
    loss.total.backward()


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, ExperimentConfig]:
    """All stages up to fine-tuning with the inputs of `vision_cpu`, at tiny sizes."""
    folder = tmp_path_factory.mktemp("hybrid")
    vision = load_config(ExperimentConfig, ROOT / "config/experiments/vision_cpu.yaml")
    inputs = [item.model_dump() for item in vision.world_model.inputs]
    small = {"deter": 16, "stoch": 4, "classes": 4, "hidden": 16, "embed": 16, "cnn_depth": 2}
    tiny = tiny_experiment()
    training = {**tiny.world_model_training.model_dump(), "steps": 3, "batch": 2, "eval_every": 3}
    config = tiny_experiment(
        world_model={"inputs": inputs, "image_share": 0.5, **small},
        world_model_training={**training, "precision": "bf16"},
        gate={"horizons": [1, 5], "dreams": 4, "judge_horizon": 5},
        dream={**tiny.dream.model_dump(), "reward": vision.dream.reward},
    )
    dataset = pushing_dataset(folder / "data", play=3, demos=2, cameras=True)
    run = Run(folder / "run")
    run_stages(run, learning_stages(run, dataset, config, torch.device("cpu")), until="finetune")
    return run, config


def test_stages_run_with_the_scene_as_a_target_and_reward(
    hybrid: tuple[Run, ExperimentConfig],
) -> None:
    run, config = hybrid
    assert config.dream.reward == "decoded"
    finetuned = run.done("finetune")
    assert finetuned is not None and 0 <= finetuned.result["dream_adapted"] <= 1
    gate = (run.stage_dir("gate") / "open_loop.json").read_text()
    assert '"scene_state"' in gate and '"rgb_static"' in gate


def test_an_agent_acts_without_the_scenes_state(hybrid: tuple[Run, ExperimentConfig]) -> None:
    run, _ = hybrid
    folders = {name: run.stage_dir(name) / "model" for name in ("world_model", "classifier")}
    device = torch.device("cpu")
    agent: Agent = assemble_agent(folders, run.stage_dir("finetune") / "model", device)
    frame = {
        "rgb_static": np.zeros((64, 64, 3), np.uint8),
        "rgb_gripper": np.zeros((64, 64, 3), np.uint8),
        "proprio": np.zeros(18, np.float32),
    }
    action = np.zeros(7, np.float32)
    with_scene = {**frame, "scene_state": np.full(24, 7.0, np.float32)}
    acted = agent.act(frame, action)
    agent.reset()
    assert np.array_equal(agent.act(with_scene, action), acted)
    agent.reset()
    with pytest.raises(ConfigError, match="rgb_gripper"):
        agent.act({k: v for k, v in frame.items() if k != "rgb_gripper"}, action)
