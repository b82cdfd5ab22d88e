# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Models to and from checkpoint folders. A checkpoint says all that is needed to build it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diwa.config import parse_config
from diwa.data.contract import Contract
from diwa.data.dataset import Dataset
from diwa.data.statistics import Statistics
from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.reward.classifier import ClassifierConfig, SuccessClassifier
from diwa.train.checkpoint import load_weights, save_weights
from diwa.train.experiment import ExperimentConfig
from diwa.world_model.config import WorldModelConfig
from diwa.world_model.model import WorldModel


def statistics_to_plain(statistics: Mapping[str, Statistics]) -> dict[str, Any]:
    """Statistics as lists, for JSON."""
    return {
        key: {name: getattr(item, name).tolist() for name in ("mean", "std", "min", "max")}
        for key, item in statistics.items()
    }


def _arrays(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    return {
        key: {name: np.asarray(value) for name, value in item.items()}
        for key, item in plain.items()
    }


def make_world_model(config: ExperimentConfig, dataset: Dataset) -> WorldModel:
    """A new world model for a dataset, with weights from the global random state."""
    neutral = torch.tensor(dataset.contract.action.neutral)
    return WorldModel(config.world_model, _arrays(statistics_to_plain(dataset.statistics)), neutral)


def world_model_meta(config: ExperimentConfig, dataset: Dataset) -> dict[str, Any]:
    """What a checkpoint says about its world model."""
    keys = {item.key for item in config.world_model.inputs if item.encoder != "cnn"}
    statistics = {key: value for key, value in dataset.statistics.items() if key in keys}
    return {
        "kind": "world_model",
        "world_model": config.world_model.model_dump(mode="json"),
        "statistics": statistics_to_plain(statistics),
        "contract": dataset.contract.model_dump(mode="json"),
        "dataset_hash": dataset.hash,
        "seed": config.seed,
    }


def build_world_model(meta: Mapping[str, Any], source: str) -> WorldModel:
    """The world model that `meta` describes, weights still to be loaded."""
    config = parse_config(WorldModelConfig, meta["world_model"], source)
    contract = parse_config(Contract, meta["contract"], source)
    return WorldModel(config, _arrays(meta["statistics"]), torch.tensor(contract.action.neutral))


def load_world_model(directory: Path, device: torch.device) -> tuple[WorldModel, dict[str, Any]]:
    """A frozen world model and its checkpoint's description."""
    tensors, meta = load_weights(directory, "world_model")
    model = build_world_model(meta, str(directory))
    model.load_state_dict(tensors)
    model.requires_grad_(False)
    return model.to(device).eval(), meta


def save_policy(directory: Path, policy: DiffusionPolicy, meta: Mapping[str, Any]) -> None:
    """Write a diffusion policy; a fine-tuned copy is kept beside the base."""
    full = {
        **meta,
        "kind": "policy",
        "policy": policy.config.model_dump(mode="json"),
        "feat": policy.feat,
        "tuned": policy.tuned is not None,
    }
    save_weights(directory, policy.state_dict(), full)


def build_policy(meta: Mapping[str, Any], source: str) -> DiffusionPolicy:
    """The policy that `meta` describes, weights still to be loaded."""
    policy = DiffusionPolicy(parse_config(PolicyConfig, meta["policy"], source), meta["feat"])
    if meta["tuned"]:
        policy.start_finetuning()
    return policy


def load_policy(directory: Path, device: torch.device) -> tuple[DiffusionPolicy, dict[str, Any]]:
    """A policy and its checkpoint's description."""
    tensors, meta = load_weights(directory, "policy")
    policy = build_policy(meta, str(directory))
    policy.load_state_dict(tensors)
    return policy.to(device).eval(), meta


def save_classifier(
    directory: Path, classifier: SuccessClassifier, feat: int, meta: Mapping[str, Any]
) -> None:
    """Write a success classifier."""
    full = {
        **meta,
        "kind": "classifier",
        "classifier": classifier.config.model_dump(mode="json"),
        "feat": feat,
    }
    save_weights(directory, classifier.state_dict(), full)


def build_classifier(meta: Mapping[str, Any], source: str) -> SuccessClassifier:
    """The classifier that `meta` describes, weights still to be loaded."""
    config = parse_config(ClassifierConfig, meta["classifier"], source)
    return SuccessClassifier(config, meta["feat"])


def load_classifier(
    directory: Path, device: torch.device
) -> tuple[SuccessClassifier, dict[str, Any]]:
    """A frozen classifier and its checkpoint's description."""
    tensors, meta = load_weights(directory, "classifier")
    classifier = build_classifier(meta, str(directory))
    classifier.load_state_dict(tensors)
    classifier.requires_grad_(False)
    return classifier.to(device).eval(), meta
