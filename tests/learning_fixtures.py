# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Small models and data that several learning tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from diwa.data.contract import Contract, load_contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.train.experiment import ExperimentConfig
from diwa.world_model.config import InputConfig, WorldModelConfig
from diwa.world_model.model import WorldModel

ROOT = Path(__file__).resolve().parents[1]
NEUTRAL = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])


def tiny_world_model_config(**changes: object) -> WorldModelConfig:
    """A world model of a few thousand weights over proprioception and scene."""
    values: dict[str, object] = {
        "inputs": (
            InputConfig(key="proprio"),
            InputConfig(key="scene_state", indices=(0, 1, 2, 3, 4, 5)),
        ),
        "deter": 24,
        "stoch": 4,
        "classes": 6,
        "hidden": 20,
        "embed": 16,
        "mlp_units": (16,),
    }
    return WorldModelConfig.model_validate({**values, **changes})


def unit_statistics() -> dict[str, dict[str, np.ndarray]]:
    """Statistics that leave vectors as they are."""
    return {
        key: {
            "mean": np.zeros(size),
            "std": np.ones(size),
            "min": np.zeros(size),
            "max": np.ones(size),
        }
        for key, size in (("proprio", 18), ("scene_state", 24))
    }


def tiny_world_model(seed: int = 0, **changes: object) -> WorldModel:
    """A freshly initialised tiny world model."""
    torch.manual_seed(seed)
    return WorldModel(tiny_world_model_config(**changes), unit_statistics(), NEUTRAL)


def random_observation(batch: int, length: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random vectors of the low-dimensional keys, axes (B, T)."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "proprio": torch.randn(batch, length, 18, generator=generator),
        "scene_state": torch.randn(batch, length, 24, generator=generator),
    }


def pushing_dataset(
    path: Path, play: int = 4, demos: int = 3, seed: int = 0, cameras: bool = False
) -> Dataset:
    """A made-up world: pushing against the drawer opens it. Play wanders; demonstrations push.

    The TCP moves with the action; below y = -0.25 the drawer follows the TCP outwards.
    """
    rng = np.random.default_rng(seed)
    name = "panda_calvin" if cameras else "panda_calvin_lowdim"
    contract = load_contract(ROOT / "config" / "contracts" / f"{name}.yaml")
    writer = DatasetWriter(path, contract)
    for index in range(play):
        arrays = _episode(rng, 160, push=None) | _images(rng, contract, 160)
        writer.add_episode(f"play-{index}", "play", "", "unknown", arrays)
    for index in range(demos):
        arrays = _episode(rng, 40, push=0.6) | _images(rng, contract, 40)
        writer.add_episode(f"demo-{index}", "demo", "open_drawer", "success", arrays)
    return writer.finish()


def _images(rng: np.random.Generator, contract: Contract, length: int) -> dict[str, np.ndarray]:
    return {
        key: rng.integers(0, 255, (length, *contract.observations[key].store, 3), dtype=np.uint8)
        for key in contract.image_keys
    }


def _episode(rng: np.random.Generator, length: int, push: float | None) -> dict[str, np.ndarray]:
    position = np.array([0.1, -0.22, 0.5]) + rng.uniform(-0.02, 0.02, 3)
    drawer, drift = 0.0, rng.uniform(-0.5, 0.5, 3)
    proprio, scene, action = [], [], []
    for _ in range(length):
        row = np.zeros(18)
        row[:3], row[3], row[7], row[17] = position, 1.0, -1.0, 1.0
        state = np.zeros(24)
        state[1] = drawer
        if push is None:
            drift = np.clip(0.9 * drift + rng.normal(0, 0.3, 3), -1, 1)
            home = (np.array([0.1, -0.3, 0.5]) - position) * 2
            move = np.clip(drift + home, -1, 1)
        else:
            move = np.array([0.0, -push, 0.0]) + rng.normal(0, 0.05, 3)
        command = np.array([*move, 0, 0, 0, 1.0])
        proprio.append(row)
        scene.append(state)
        action.append(command)
        position = position + 0.02 * move
        if position[1] < -0.25:
            drawer = float(np.clip(max(drawer, -0.25 - position[1]), 0, 0.22))
        elif push is None and position[1] > -0.2:
            drawer = 0.0
    return {
        "proprio": np.array(proprio, dtype=np.float32),
        "scene_state": np.array(scene, dtype=np.float32),
        "action": np.array(action[:-1], dtype=np.float32),
    }


def tiny_experiment(**changes: object) -> ExperimentConfig:
    """An experiment that runs in seconds and learns nothing in particular."""
    raw: dict[str, object] = {
        "name": "tiny",
        "task": "open_drawer",
        "seed": 3,
        "threads": 1,
        "device": "cpu",
        "claim": False,
        "world_model": tiny_world_model_config().model_dump(),
        "world_model_training": {
            "steps": 12,
            "batch": 4,
            "seq_len": 8,
            "lr": 1.0e-3,
            "eval_every": 6,
            "holdout": 0.2,
        },
        "policy": {"hidden": 32, "steps": 5, "finetune_steps": 3},
        "policy_training": {"steps": 12, "batch": 16, "lr": 1.0e-3},
        "classifier": {"encoder_units": 16, "embed": 8, "head_units": 16},
        "classifier_training": {
            "steps": 8,
            "batch": 32,
            "dream_horizon": 12,
            "latents": 1000,
        },
        "gate": {"horizons": [1, 5, 10], "dreams": 16, "judge_horizon": 10},
        "dream": {"dreams": 8, "max_chunks": 3},
        "ppo": {
            "iterations": 4,
            "chunks": 4,
            "epochs": 2,
            "batch": 16,
            "critic_hidden": 16,
            "bc_samples": 16,
            "critic_iterations": 1,
            "eval_every": 2,
            "eval_dreams": 8,
        },
        "evaluation": {"episodes": 2, "max_steps": 8},
    }
    return ExperimentConfig.model_validate({**raw, **changes})
