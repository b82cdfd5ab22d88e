# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A second opinion on dreams, by a world model and classifier that the policy never learned from.

A policy can get better in its dream by using the model's errors. The referee, trained with another
seed and other episodes held out, has other errors. It is asked in two ways:

- `second_opinion`: would the very same actions have succeeded in the referee's dream? Nobody sees
  the referee's dream while acting, so this is harsh; what matters is how the gap grows.
- `CrossEnvironment`: the referee's dream takes the robot's place. What it shows is filtered by the
  policy's own world model, as on the robot. This comes close to deployment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diwa.policy.actions import executable
from diwa.policy.diffusion import DiffusionPolicy
from diwa.rl.config import DreamConfig
from diwa.rl.dream import DreamEnvironment, StartBank, exchange
from diwa.rl.environment import StepResult
from diwa.world_model.model import WorldModel


class Referee(NamedTuple):
    """An independent world model and classifier.

    Attributes:
        world_model: dreams.
        classifier: what its dreams are judged by: as the policy's own are.
        starts: the frames of the judged dreams.
        learned: its success classifier where dreams are judged by their decoded state instead.
    """

    world_model: WorldModel
    classifier: nn.Module
    starts: StartBank
    learned: nn.Module | None = None


class Opinion(NamedTuple):
    """Shares of the same dreams, in [0, 1]."""

    own: float  # solved, says the model that they were dreamed in
    referee: float  # solved, says the referee
    learned: float  # solved, says its classifier of the referee's dreams; NaN without `learned`

    @property
    def gap(self) -> float:
        """What the referee does not confirm."""
        return self.own - self.referee


@torch.no_grad()
def second_opinion(
    dream: DreamEnvironment,
    referee: Referee,
    policy: DiffusionPolicy,
    generator: torch.Generator,
) -> Opinion:
    """Dream one episode per environment, acting as when served, and judge it twice.

    Dreams go on after success until their time is up, so that both have the same chance.

    Args:
        dream: whose world model the policy acts in, and whose starts it begins at.
        referee: its starts are the same frames in the same order.
        policy: acts in `dream`.
        generator: source of randomness.
    """
    assert len(dream.starts.deter) == len(referee.starts.deter), "starts of other frames"
    config = dream.config
    index = dream.starts.pick(dream.count, generator)
    own = dream.starts.at(index, generator)
    other = referee.starts.at(index, generator)
    solved = torch.zeros(3, dream.count, dtype=torch.bool, device=index.device)
    for _ in range(config.max_chunks):
        chunk = policy.sample(own.feat, generator)[:, : policy.config.act_horizon]
        action = executable(chunk)
        own = dream.world_model.rssm.dream(own, action, generator)
        other = referee.world_model.rssm.dream(other, action, generator)
        solved[0] |= dream.classifier(own.feat) > config.success_threshold
        solved[1] |= referee.classifier(other.feat) > config.success_threshold
        if referee.learned is not None:
            solved[2] |= referee.learned(other.feat) > config.success_threshold
    own_share, referee_share, learned = solved.float().mean(dim=1).tolist()
    return Opinion(own_share, referee_share, math.nan if referee.learned is None else learned)


class CrossEnvironment:
    """The referee's dream in the robot's place, behind the same calls as any environment.

    Args:
        world_model: the policy's own; filters what the referee's dream shows.
        starts: its posteriors of the start frames.
        referee: dreams and judges.
        config: as for `DreamEnvironment`.
    """

    def __init__(
        self, world_model: WorldModel, starts: StartBank, referee: Referee, config: DreamConfig
    ) -> None:
        assert len(starts.deter) == len(referee.starts.deter), "starts of other frames"
        self.world_model = world_model
        self.referee = referee
        self.starts = starts
        self.config = config
        self.count = config.dreams
        self._own = world_model.rssm.initial(0)
        self._other = referee.world_model.rssm.initial(0)
        self._chunks = torch.zeros(0, dtype=torch.int64)

    @staticmethod
    def possible(world_model: WorldModel, referee: WorldModel) -> bool:
        """Whether the referee decodes everything that the policy's world model looks at."""
        decoded = {item.key for item in referee.config.inputs if item.recon_scale > 0}
        return decoded >= set(world_model.config.observed)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> Tensor:
        """Start all dreams at random recorded frames: the policy's latents (N, F)."""
        index = self.starts.pick(self.count, generator)
        self._own = self.starts.at(index, generator)
        self._other = self.referee.starts.at(index, generator)
        self._chunks = torch.zeros(self.count, dtype=torch.int64, device=index.device)
        return self._own.feat

    @torch.no_grad()
    def step(self, chunk: Tensor, generator: torch.Generator) -> StepResult:
        """Act out the chunk (N, Ta, A) in the referee's dream; judged once, after it."""
        own, other = self._own, self._other
        not_first = torch.zeros(self.count, 1, dtype=torch.bool, device=chunk.device)
        for step in range(chunk.shape[1]):
            action = chunk[:, step]
            other = self.referee.world_model.rssm.imagine_step(other, action, generator)
            shown = self.referee.world_model.decoder(other.feat)  # normalised alike in both
            embed = self.world_model.encoder(shown).unsqueeze(1)
            seen = self.world_model.rssm.observe(
                embed, action.unsqueeze(1), not_first, own, generator
            )
            own = seen.state.at(0)
        terminated = self.referee.classifier(other.feat) > self.config.success_threshold
        self._chunks += 1
        truncated = (self._chunks >= self.config.max_chunks) & ~terminated
        ended = terminated | truncated
        index = self.starts.pick(self.count, generator)
        self._own = exchange(ended, self.starts.at(index, generator), own)
        self._other = exchange(ended, self.referee.starts.at(index, generator), other)
        self._chunks = self._chunks.masked_fill(ended, 0)
        return StepResult(self._own.feat, own.feat, terminated.float(), terminated, truncated)
