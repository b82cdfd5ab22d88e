# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The gate's look at the success classifier: on dreamed latents, and on held-out demonstrations."""

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
    """What `open_loop.json` says about the classifier."""

    threshold: float
    dreamed: Verdict
    demos: tuple[Verdict, int] | None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        held = None
        if self.demos is not None:
            held = {**self.demos[0].plain(), "demonstrations": self.demos[1]}
        return {
            "threshold": self.threshold,
            "dreamed": self.dreamed.plain(),
            "held_out_demonstrations": held,
        }


class ClassifierJudge:
    """Judges a classifier by an experiment's labels and its dream's threshold."""

    def __init__(
        self,
        world_model: WorldModel,
        classifier: nn.Module,
        dataset: Dataset,
        config: ExperimentConfig,
        random: Randomness,
    ) -> None:
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
            dreamed = self.dreamed(latent, batch, episode_ids, self._config.gate.context)
        else:
            dreamed = self.dreamed_along_demos()
        return ClassifierFindings(self._threshold, dreamed, self.on_demos())

    def dreamed(
        self, latent: Tensor, batch: Batch, episode_ids: list[str], context: int
    ) -> Verdict:
        """On latents (B, H, F) that were dreamed along windows, after `context` frames of each."""
        labels = frame_labels(self._dataset, self._config, episode_ids)
        length = context + latent.shape[1]
        places = zip(batch.episode.tolist(), batch.start.tolist(), strict=True)
        truth = np.stack([labels[e][s : s + length] for e, s in places])[:, context:]
        return self._judge(latent, torch.from_numpy(truth))

    def dreamed_along_demos(self) -> Verdict:
        """On dreams along demonstrations; held-out ones where there are any."""
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
        return self.dreamed(latent, batch, sampler.episode_ids, context)

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
        return self._judge(torch.cat(latents), torch.from_numpy(labels)), len(ids)

    @torch.no_grad()
    def _judge(self, latent: Tensor, truth: Tensor) -> Verdict:
        score = self._classifier(latent).flatten().cpu()
        return judge_classifier(score, truth.flatten().long(), self._threshold)
