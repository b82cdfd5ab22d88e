# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Where a policy is fine-tuned and judged: dreams from recorded starts, and a referee's dreams."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diwa.data.dataset import Dataset
from diwa.policy.diffusion import DiffusionPolicy
from diwa.rl.dream import DreamEnvironment, encode_starts
from diwa.rl.referee import CrossEnvironment, Referee, second_opinion
from diwa.rl.rollout import success_rate
from diwa.train.experiment import ExperimentConfig
from diwa.train.labels import start_frames, start_observations
from diwa.train.models import load_classifier, load_world_model
from diwa.train.rewards import success_judge
from diwa.train.windows import split_episodes
from diwa.world_model.model import WorldModel


@dataclass(frozen=True, slots=True)
class Scores:
    """Success in held-out dreams, in [0, 1]; NaN where there is no referee, or it cannot tell."""

    dream: float  # in the policy's own world model
    referee: float  # the same actions in the referee's
    cross: float  # the referee's dream in the robot's place
    learned: float  # as `referee`, but by its classifier, where decoded state rewards
    gap: float  # share of the same dreams that the referee does not confirm
    bc_distance: float  # root mean square distance of chunks from the base policy's

    @property
    def decisive(self) -> float:
        """What weights are chosen by: the most independent score there is."""
        known = [s for s in (self.cross, self.referee, self.dream) if not math.isnan(s)]
        return known[0]

    def figures(self) -> dict[str, float]:
        """For the metrics log; without what is unknown."""
        named = {
            "held_out_dream_success": self.dream,
            "referee_success": self.referee,
            "referee_classifier_success": self.learned,
            "cross_success": self.cross,
            "exploitation_gap": self.gap,
            "bc_distance": self.bc_distance,
        }
        return {name: value for name, value in named.items() if not math.isnan(value)}


class Dreams:
    """The imagined environments of one experiment.

    Attributes:
        train: to learn in; starts from training episodes.
        judge: to be judged in; starts from held-out episodes.
        facts: how many starts each has.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: ExperimentConfig,
        device: torch.device,
        folders: Mapping[str, Path],
    ) -> None:
        world_model, _ = load_world_model(folders["world_model"], device)
        classifier = success_judge(config, dataset, world_model, folders["classifier"], device)
        train, held = _start_observations(world_model, dataset, config)
        bank = encode_starts(world_model, held)
        judged = config.dream.model_copy(update={"dreams": config.ppo.eval_dreams})
        self.train = DreamEnvironment(
            world_model, classifier, encode_starts(world_model, train), config.dream
        )
        self.judge = DreamEnvironment(world_model, classifier, bank, judged)
        self.facts = {"train_starts": len(self.train.starts.deter), "held_out_starts": len(bank[0])}
        self._seed = config.seed + 42
        self._referee: Referee | None = None
        self._cross: CrossEnvironment | None = None
        if config.referee is not None:
            self._referee = _load_referee(config, dataset, held, device, folders)
            if CrossEnvironment.possible(world_model, self._referee.world_model):
                self._cross = CrossEnvironment(world_model, bank, self._referee, judged)

    def score(self, policy: DiffusionPolicy) -> Scores:
        """Judge a policy, acting as when served; the same random numbers every time."""
        length = self.judge.config.max_chunks
        dream, _ = success_rate(self.judge, policy, length, self._generator())
        referee = gap = cross = learned = math.nan
        if self._referee is not None:
            opinion = second_opinion(self.judge, self._referee, policy, self._generator())
            referee, gap, learned = opinion.referee, opinion.gap, opinion.learned
        if self._cross is not None:
            cross, _ = success_rate(self._cross, policy, length, self._generator())
        return Scores(dream, referee, cross, learned, gap, self._bc_distance(policy))

    def _bc_distance(self, policy: DiffusionPolicy) -> float:
        """Chunks of the tuned and of the base policy from the same noise, at held-out starts."""
        if policy.tuned is None:
            return 0.0
        latent = self.judge.starts.draw(self.judge.count, self._generator()).feat
        tuned = policy.sample_chain(latent, self._generator()).chunk
        base = policy.sample_chain(latent, self._generator(), use_base=True).chunk
        return float((tuned - base).square().mean().sqrt())

    def _generator(self) -> torch.Generator:
        device = self.judge.starts.deter.device
        return torch.Generator(device=device).manual_seed(self._seed)


def _start_observations(
    world_model: WorldModel, dataset: Dataset, config: ExperimentConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """First frames for learning and for judging, per key (N, ...)."""
    keys = [item.key for item in world_model.config.inputs]
    holdout = config.world_model_training.holdout
    train_ids, held_ids = split_episodes(dataset, "play", holdout, config.seed)

    def of(episode_ids: list[str]) -> dict[str, Tensor]:
        starts = start_frames(dataset, config.task, episode_ids, config.starts)
        arrays = start_observations(dataset, starts, keys)
        return {key: torch.from_numpy(value) for key, value in arrays.items()}

    train = of(train_ids)
    return train, of(held_ids) if held_ids else train


def _load_referee(
    config: ExperimentConfig,
    dataset: Dataset,
    held: Mapping[str, Tensor],
    device: torch.device,
    folders: Mapping[str, Path],
) -> Referee:
    world_model, _ = load_world_model(folders["referee_world_model"], device)
    folder = folders["referee_classifier"]
    classifier = success_judge(config, dataset, world_model, folder, device)
    decoded = config.dream.reward == "decoded"
    learned = load_classifier(folder, device)[0] if decoded else None
    return Referee(world_model, classifier, encode_starts(world_model, held), learned)
