# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `gate`: may reinforcement learning use this world model? Measured on held-out episodes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diwa.data.dataset import Dataset
from diwa.errors import ConfigError
from diwa.files import write_json
from diwa.reward.metrics import area_under_roc
from diwa.train.classifier_stage import frame_labels
from diwa.train.experiment import ExperimentConfig
from diwa.train.loop import Randomness
from diwa.train.models import load_classifier, load_world_model
from diwa.train.run import StageContext
from diwa.train.windows import Batch, WindowSampler, split_episodes
from diwa.world_model.open_loop import OpenLoop, open_loop


def judge_world_model(
    context: StageContext,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    world_model_dir: Path,
    classifier_dir: Path,
) -> dict[str, Any]:
    """Measure, write `open_loop.json`, and raise `ConfigError` when the model is not good enough.

    An experiment with `claim: false` is measured all the same, but never refused.
    """
    settings = config.gate
    world_model, _ = load_world_model(world_model_dir, device)
    classifier, _ = load_classifier(classifier_dir, device)
    train_ids, held_ids = split_episodes(
        dataset, "play", config.world_model_training.holdout, config.seed
    )
    keys = [item.key for item in config.world_model.inputs]
    longest = max(e.length for e in dataset.episodes if e.id in (held_ids or train_ids))
    seq_len = min(settings.context + max(settings.horizons), longest)
    sampler = WindowSampler(dataset, held_ids or train_ids, keys, seq_len)
    random = Randomness(config.seed + 30, device)
    context.progress.start("world-model gate", 2)
    batch = sampler.sample(settings.dreams, random.cpu)
    moved = batch.to(device)
    result = open_loop(
        world_model,
        moved.observation,
        moved.previous_action,
        moved.is_first,
        settings.context,
        random.device,
    )
    context.progress.advance()
    labels = frame_labels(dataset, config, sampler.episode_ids)
    truth = _labels_of(batch, labels, seq_len)[:, settings.context :]
    score = classifier(result.latent.feat).flatten().cpu()
    auc = area_under_roc(score, torch.from_numpy(truth.astype(np.int64)).flatten())
    context.progress.advance()
    report = _report(result, config, auc)
    write_json(context.directory / "open_loop.json", report)
    if report["failed"] and config.claim:
        raise ConfigError(
            f"{world_model_dir}: the world model does not pass the gate",
            got="; ".join(report["failed"]),
            expected="predictions on held-out episodes good enough to learn in",
            hint="record more and more varied play, or train the world model longer",
        )
    return {"auc": report["auc"], "error_ratio": report["error_ratio"], "failed": report["failed"]}


def _labels_of(batch: Batch, labels: list[np.ndarray], length: int) -> np.ndarray:
    places = zip(batch.episode.tolist(), batch.start.tolist(), strict=True)
    return np.stack([labels[e][s : s + length] for e, s in places])


def _report(result: OpenLoop, config: ExperimentConfig, auc: float) -> dict[str, Any]:
    settings = config.gate
    length = len(next(iter(result.error.values())))
    horizons = [h for h in settings.horizons if h <= length]
    at = min(settings.judge_horizon, length) - 1
    keys = {
        key: {
            "error": [float(result.error[key][h - 1]) for h in horizons],
            "still": [float(result.still[key][h - 1]) for h in horizons],
        }
        for key in result.error
    }
    ratios = {
        key: float(result.error[key][at] / result.still[key][at].clamp_min(1e-9))
        for key in result.error
    }
    worst = max(ratios.values())
    failed = []
    if not worst <= settings.max_error_ratio:
        failed.append(
            f"error of a dream of {at + 1} steps is {worst:.2f} of that of predicting no change, "
            f"at most {settings.max_error_ratio:.2f} allowed"
        )
    if not math.isnan(auc) and auc < settings.min_auc:
        failed.append(
            f"the classifier's AUC on dreamed latents is {auc:.3f}, "
            f"at least {settings.min_auc:.3f} needed"
        )
    return {
        "horizons": horizons,
        "unit": "mean squared error, observations scaled to unit variance",
        "keys": keys,
        "error_ratio": worst,
        "judge_horizon": at + 1,
        "auc": None if math.isnan(auc) else auc,
        "failed": failed,
        "passed": not failed,
    }
