# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `classifier`: fit the success classifier on observed and dreamed latents (DiWA 3.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diwa.data.dataset import Dataset
from diwa.reward.classifier import SuccessClassifier
from diwa.reward.metrics import area_under_roc, precision_recall
from diwa.train.experiment import ExperimentConfig
from diwa.train.labels import SceneLabeller, demos_of, outcome_labels
from diwa.train.latents import observed_and_dreamed
from diwa.train.loop import LoopState, Randomness, run_loop
from diwa.train.meter import finite_or_none
from diwa.train.models import load_world_model, save_classifier
from diwa.train.rewards import decoded_success
from diwa.train.run import StageContext, StopFlag
from diwa.train.windows import WindowSampler, split_episodes
from diwa.world_model.model import WorldModel


def labelled_latents(
    world_model: WorldModel,
    dataset: Dataset,
    config: ExperimentConfig,
    episode_ids: list[str],
    count: int,
    random: Randomness,
    stop: StopFlag,
) -> tuple[Tensor, Tensor]:
    """About `count` latents (N, F), half of them dreamed where wanted; their labels (N,) int64."""
    settings = config.classifier_training
    keys = [item.key for item in world_model.config.inputs]
    lengths = {episode.id: episode.length for episode in dataset.episodes}
    longest = max(lengths[name] for name in episode_ids)
    seq_len = min(settings.dream_context + settings.dream_horizon, longest)
    sampler = WindowSampler(dataset, episode_ids, keys, seq_len)
    labels = frame_labels(dataset, config, sampler.episode_ids)
    decoded = None
    if settings.dreams == "decoded":
        decoded = decoded_success(world_model, dataset, config.task)
    latents: list[Tensor] = []
    targets: list[Tensor] = []
    found = 0
    while found < count:
        stop.check()
        batch = sampler.sample(64, random.cpu)
        truth = np.stack(
            [
                labels[e][s : s + seq_len]
                for e, s in zip(batch.episode.tolist(), batch.start.tolist(), strict=True)
            ]
        )
        seen, dreamed = observed_and_dreamed(
            world_model, batch.to(world_model.device), settings.dream_context, random.device
        )
        target = torch.from_numpy(truth).long().to(world_model.device)
        latents.append(seen.flatten(0, 1))
        targets.append(target.flatten())
        if settings.dreams != "none":
            latents.append(dreamed.flatten(0, 1))
            imagined = target[:, settings.dream_context :] if decoded is None else decoded(dreamed)
            targets.append(imagined.flatten().long())
        found = sum(len(part) for part in targets)
    return torch.cat(latents)[:count], torch.cat(targets)[:count]


def frame_labels(
    dataset: Dataset, config: ExperimentConfig, episode_ids: list[str]
) -> list[np.ndarray]:
    """Per episode, which frames are successes: (T,) bool."""
    settings = config.classifier_training
    if settings.labels == "outcome":
        lengths = {episode.id: episode.length for episode in dataset.episodes}
        return [outcome_labels(lengths[name], settings.success_tail) for name in episode_ids]
    labeller = SceneLabeller.of(dataset, config.task)
    return [labeller.success(np.asarray(dataset.array(e, labeller.key))) for e in episode_ids]


def split_demos(dataset: Dataset, config: ExperimentConfig) -> tuple[list[str], list[str]]:
    """Demonstrations to learn success from, drawn by the seed, and all others, to measure it on."""
    used = len(demos_of(dataset, config.task, config.policy_training.demos))
    cut = max(1, round(used * (1 - config.classifier_training.holdout)))
    drawn = set(np.random.default_rng(config.seed).permutation(used)[:cut].tolist())
    demos = [demo.id for demo in demos_of(dataset, config.task)]
    held = [demo for index, demo in enumerate(demos) if index not in drawn]
    return [demos[index] for index in sorted(drawn)], held


def _episodes(dataset: Dataset, config: ExperimentConfig) -> tuple[list[str], list[str]]:
    """Training and held-out episodes: demonstrations, and play where labels allow it."""
    settings = config.classifier_training
    train, held = split_demos(dataset, config)
    if settings.labels == "scene" and settings.use_play:
        holdout = config.world_model_training.holdout
        play, held_play = split_episodes(dataset, "play", holdout, config.seed)
        train, held = train + play, held + held_play
    return train, held or train


def train_classifier(
    context: StageContext,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    world_model_dir: Path,
) -> dict[str, float | None]:
    """Train, measure on held-out episodes, save."""
    settings = config.classifier_training
    world_model, meta = load_world_model(world_model_dir, device)
    data_random = Randomness(config.seed + 20, device)
    train_ids, held_ids = _episodes(dataset, config)
    context.progress.start("latents for the classifier", 2)
    latents, labels = labelled_latents(
        world_model, dataset, config, train_ids, settings.latents, data_random, context.stop
    )
    context.progress.advance()
    held, held_labels = labelled_latents(
        world_model,
        dataset,
        config,
        held_ids,
        max(1, settings.latents // 5),
        data_random,
        context.stop,
    )
    context.progress.advance()
    classifier = _fit(context, config, latents, labels)
    with torch.no_grad():
        figures = _measure(classifier(held), held_labels)
    context.metrics.log(settings.steps, **figures)
    result = {name: finite_or_none(value) for name, value in figures.items()}
    facts = {**meta, "task": config.task, "held_out": result}
    save_classifier(context.directory / "model", classifier, world_model.config.feat, facts)
    return result


def _fit(
    context: StageContext, config: ExperimentConfig, latents: Tensor, labels: Tensor
) -> SuccessClassifier:
    """A classifier of latents (N, F) by labels (N,); carries on where it was stopped."""
    settings, device = config.classifier_training, latents.device
    torch.manual_seed(config.seed + 21)
    classifier = SuccessClassifier(config.classifier, latents.shape[-1]).to(device)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=settings.lr, fused=True)
    random = Randomness(config.seed + 22, device)
    state = LoopState({"classifier": classifier}, {"optimiser": optimiser}, {"random": random})
    groups = [torch.arange(len(labels), device=device)]
    if settings.balance:
        groups = [torch.nonzero(labels == value).flatten() for value in (0, 1)]
        groups = [group for group in groups if len(group)]

    def step(index: int) -> dict[str, float]:
        size = settings.batch // len(groups)
        rows = torch.cat(
            [g[torch.randint(len(g), (size,), generator=random.cpu).to(device)] for g in groups]
        )
        loss = classifier.loss(latents[rows], labels[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if index % 50 and index != settings.steps - 1:
            return {}
        context.metrics.log(index, loss=float(loss.detach()))
        return {"loss": float(loss.detach())}

    run_loop(context, "success classifier", settings.steps, state, step)
    return classifier


def _measure(probability: Tensor, labels: Tensor) -> dict[str, float]:
    """How well probabilities (N,) tell held-out labels (N,)."""
    precision, recall = precision_recall(probability, labels, 0.5)
    return {
        "auc": area_under_roc(probability, labels),
        "precision": precision,
        "recall": recall,
        "positives": float(labels.float().mean()),
    }
