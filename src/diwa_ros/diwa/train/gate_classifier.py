# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The gate's look at what tells success: on dreamed latents, and on held-out demonstrations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from diwa.data.dataset import Dataset
from diwa.train.classifier_stage import frame_labels, split_demos
from diwa.train.experiment import ExperimentConfig
from diwa.train.gate_report import Verdict, judge_classifier
from diwa.train.latents import filter_episode, observed_and_dreamed
from diwa.train.loop import Randomness
from diwa.train.windows import Batch, WindowSampler
from diwa.world_model.model import WorldModel

MOST_DEMOS = 50  # that are filtered


class ClassifierFindings(NamedTuple):
    """What `open_loop.json` says about the classifier, and about the reward where it is another."""

    threshold: float
    dreamed: Verdict
    demos: tuple[Verdict, int] | None
    reward: Verdict | None  # on the same dreamed latents; None: the classifier rewards

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        held = None
        if self.demos is not None:
            held = {**self.demos[0].plain(), "demonstrations": self.demos[1]}
        return {
            "threshold": self.threshold,
            "dreamed": self.dreamed.plain(),
            "held_out_demonstrations": held,
            "decoded_reward": None if self.reward is None else self.reward.plain(),
        }


class ClassifierJudge:
    """Judges by an experiment's labels and its dream's threshold.

    Args:
        world_model: dreams.
        classifier: latents (..., F) -> probability of success (...).
        dataset: has the labels.
        config: of the experiment.
        random: source of randomness.
        reward: what rewards the dreams where it is not the classifier; the same signature.
    """

    def __init__(
        self,
        world_model: WorldModel,
        classifier: nn.Module,
        dataset: Dataset,
        config: ExperimentConfig,
        random: Randomness,
        reward: nn.Module | None = None,
    ) -> None:
        self._reward = reward
        self._world_model = world_model
        self._classifier = classifier
        self._dataset = dataset
        self._config = config
        self._random = random
        self._threshold = config.dream.success_threshold

    @property
    def knows_play(self) -> bool:
        """Whether frames of play have labels; by outcome only demonstrations have."""
        return self._config.classifier_training.labels == "scene"

    def findings(self, latent: Tensor, batch: Batch, episode_ids: list[str]) -> ClassifierFindings:
        """All that the gate wants to know.

        Args:
            latent: (B, H, F), dreamed along windows of play.
            batch: these windows.
            episode_ids: that its places are in.
        """
        if self.knows_play:
            truth = self._truth(latent, batch, episode_ids, self._config.gate.context)
        else:
            latent, truth = self._along_demos()
        return ClassifierFindings(
            self._threshold,
            self._judge(self._classifier, latent, truth),
            self.on_demos(),
            None if self._reward is None else self._judge(self._reward, latent, truth),
        )

    def _truth(self, latent: Tensor, batch: Batch, episode_ids: list[str], context: int) -> Tensor:
        """Labels (B, H) of latents (B, H, F) dreamed along windows after `context` frames."""
        labels = frame_labels(self._dataset, self._config, episode_ids)
        length = context + latent.shape[1]
        places = zip(batch.episode.tolist(), batch.start.tolist(), strict=True)
        truth = np.stack([labels[e][s : s + length] for e, s in places])[:, context:]
        return torch.from_numpy(truth)

    def _along_demos(self) -> tuple[Tensor, Tensor]:
        """Dreams along demonstrations, held-out ones where there are any, and their labels."""
        train, held = split_demos(self._dataset, self._config)
        ids = held or train
        settings = self._config.gate
        lengths = [e.length for e in self._dataset.episodes if e.id in ids]
        seq_len = min(settings.context + max(settings.horizons), min(lengths))
        keys = [item.key for item in self._world_model.config.inputs]
        sampler = WindowSampler(self._dataset, ids, keys, seq_len)
        batch = sampler.sample(settings.dreams, self._random.cpu)
        context = min(settings.context, seq_len - 1)
        _, latent = observed_and_dreamed(
            self._world_model, batch.to(self._world_model.device), context, self._random.device
        )
        return latent, self._truth(latent, batch, sampler.episode_ids, context)

    def on_demos(self) -> tuple[Verdict, int] | None:
        """On filtered frames of demonstrations that it did not learn from, and how many of them.

        None where there is no such demonstration.
        """
        _, held = split_demos(self._dataset, self._config)
        if not held:
            return None
        ids = held[:MOST_DEMOS]
        latents = [
            filter_episode(self._world_model, self._dataset, name, self._random.device)[0]
            for name in ids
        ]
        labels = np.concatenate(frame_labels(self._dataset, self._config, ids))
        verdict = self._judge(self._classifier, torch.cat(latents), torch.from_numpy(labels))
        return verdict, len(ids)

    @torch.no_grad()
    def _judge(self, judge: nn.Module, latent: Tensor, truth: Tensor) -> Verdict:
        score = judge(latent).flatten().float().cpu()
        return judge_classifier(score, truth.flatten().long(), self._threshold)
