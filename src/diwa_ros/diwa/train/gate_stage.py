# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `gate`: may reinforcement learning use this world model? Measured on held-out episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diwa.data.dataset import Dataset
from diwa.errors import ConfigError
from diwa.files import write_json
from diwa.train.dream_film import CONTEXT, STEPS, film_dreams
from diwa.train.experiment import ExperimentConfig
from diwa.train.gate_classifier import ClassifierJudge
from diwa.train.gate_report import gate_report, position_drift
from diwa.train.labels import proprio_slice
from diwa.train.loop import Randomness
from diwa.train.models import load_classifier, load_world_model
from diwa.train.rewards import decoded_success
from diwa.train.run import StageContext
from diwa.train.windows import Batch, WindowSampler, split_episodes
from diwa.world_model.open_loop import OpenLoop, open_loop

FILMS = 3  # dreams that are drawn beside reality


def judge_world_model(
    context: StageContext,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    world_model_dir: Path,
    classifier_dir: Path,
) -> dict[str, Any]:
    """Measure, write `open_loop.json`, and raise `ConfigError` when the model is not good enough.

    With `claim: false` or `gate.enforce: false` all is measured the same, but nothing refused.
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
    decoded = config.dream.reward == "decoded"
    reward = decoded_success(world_model, dataset, config.task) if decoded else None
    judge = ClassifierJudge(world_model, classifier, dataset, config, random, reward)
    found = judge.findings(result.latent.feat, batch, sampler.episode_ids)
    report = gate_report(
        result,
        _drift(result, moved, config, dataset),
        found.dreamed,
        settings,
        reward=found.reward,
        held_out=len(held_ids),
    )
    report["classifier"] = found.plain()
    context.progress.advance()
    write_json(context.directory / "open_loop.json", report)
    if result.images:
        few = WindowSampler(dataset, sampler.episode_ids, keys, min(CONTEXT + STEPS, longest))
        shown = few.sample(FILMS, random.cpu).to(device)
        film_dreams(world_model, shown, dataset.contract.rate_hz, context.directory, random.device)
    _decide(context, report, world_model_dir, config)
    kept = ("auc", "precision", "recall", "error_ratio", "failed", "enforced", "classifier")
    return {name: report[name] for name in kept}


def _decide(
    context: StageContext, report: dict[str, Any], world_model_dir: Path, config: ExperimentConfig
) -> None:
    """Refuse what failed, unless told otherwise."""
    if not report["failed"] or not config.claim:
        return
    reasons = "; ".join(report["failed"])
    if not config.gate.enforce:
        context.progress.message(
            f"the gate is off (gate.enforce=false), it would refuse: {reasons}"
        )
        return
    raise ConfigError(
        f"{world_model_dir}: the world model does not pass the gate",
        got=reasons,
        expected="predictions on held-out episodes good enough to learn in",
        hint="; ".join(report["hints"]),
    )


def _drift(
    result: OpenLoop, batch: Batch, config: ExperimentConfig, dataset: Dataset
) -> Tensor | None:
    """How far the dreamed TCP is from the real one, where the model decodes it."""
    for item in config.world_model.inputs:
        if item.key == "proprio" and item.key in result.vectors:
            entries = proprio_slice(dataset.contract, "position")
            wanted = list(range(entries.start, entries.stop))
            known = list(item.indices) or list(range(dataset.contract.proprio_size))
            if not set(wanted) <= set(known):
                return None
            places = [known.index(entry) for entry in wanted]
            truth = batch.observation["proprio"][:, config.gate.context :, wanted]
            return position_drift(result.vectors["proprio"][..., places], truth)
    return None
