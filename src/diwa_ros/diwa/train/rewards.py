# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a dream is rewarded by: the success classifier, or the task's condition on decoded state."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from diwa.data.dataset import Dataset
from diwa.errors import ConfigError
from diwa.reward.decoded import DecodedSuccess
from diwa.sim.tasks import LIGHTS, find_task
from diwa.train.experiment import ExperimentConfig
from diwa.train.labels import SceneLabeller
from diwa.train.models import load_classifier
from diwa.world_model.model import WorldModel

LIT = 0.5  # a light is on above it


def success_judge(
    config: ExperimentConfig,
    dataset: Dataset,
    world_model: WorldModel,
    classifier_dir: Path,
    device: torch.device,
) -> nn.Module:
    """Latents (..., F) -> probability of success (...), as `dream.reward` wants it."""
    if config.dream.reward == "decoded":
        return decoded_success(world_model, dataset, config.task)
    return load_classifier(classifier_dir, device)[0]


def decoded_success(world_model: WorldModel, dataset: Dataset, task: str) -> DecodedSuccess:
    """The task's condition, from every scene in which demonstrations start.

    Raises:
        ConfigError: the world model does not predict what the condition is about.
    """
    labeller = SceneLabeller.of(dataset, task)
    spec = find_task(task)
    before = labeller.references[:, spec.index]
    column = _column(world_model, labeller.key, spec.index)
    above = spec.change > 0
    if spec.index in LIGHTS:
        bound = LIT
    else:
        bound = float(before.max() if above else before.min()) + spec.change
    return DecodedSuccess(world_model, labeller.key, column, bound, above=above)


def _column(world_model: WorldModel, key: str, entry: int) -> int:
    for item in world_model.config.inputs:
        known = item.key == key and item.recon_scale > 0
        if known and (not item.indices or entry in item.indices):
            return item.indices.index(entry) if item.indices else entry
    raise ConfigError(
        "dream.reward",
        got="decoded",
        expected=f"a world model that predicts entry {entry} of {key}",
        hint="add it to world_model.inputs, or use dream.reward=classifier",
    )
