# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The imagined environment: the world model's prior and the success classifier (DiWA section 3.4).

Dreams start from recorded frames only. A start is encoded as an episode's first frame, exactly as
the policy server and the simulator do it at the start of a skill.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diwa.rl.config import DreamConfig
from diwa.rl.environment import StepResult
from diwa.rl.precision import rounds
from diwa.world_model.model import WorldModel
from diwa.world_model.rssm import State
from diwa.world_model.sampling import sample_one_hot


class StartBank(NamedTuple):
    """Posteriors of recorded start frames: `deter` (N, D), `post` (N, S, C) log-probabilities."""

    deter: Tensor
    post: Tensor

    def pick(self, count: int, generator: torch.Generator) -> Tensor:
        """Indices (count,) of random starts."""
        return torch.randint(
            len(self.deter), (count,), generator=generator, device=self.deter.device
        )

    def at(self, index: Tensor, generator: torch.Generator) -> State:
        """The starts `index` (B,) with freshly sampled stochastic parts."""
        return State(self.deter[index], sample_one_hot(self.post[index], generator))

    def draw(self, count: int, generator: torch.Generator) -> State:
        """`count` random starts with freshly sampled stochastic parts."""
        return self.at(self.pick(count, generator), generator)


def exchange(ended: Tensor, fresh: State, state: State) -> State:
    """`fresh` where `ended` (B,) bool, `state` elsewhere."""
    return State(
        torch.where(ended[:, None], fresh.deter, state.deter),
        torch.where(ended[:, None, None], fresh.stoch, state.stoch),
    )


@torch.no_grad()
def encode_starts(
    world_model: WorldModel, observation: Mapping[str, Tensor], batch: int = 512
) -> StartBank:
    """Encode frames (N, size of each key) as first frames of an episode."""
    count = len(next(iter(observation.values())))
    neutral = world_model.rssm.neutral_action
    deters, posts = [], []
    for begin in range(0, count, batch):
        part = {
            key: value[begin : begin + batch].unsqueeze(1).to(world_model.device)
            for key, value in observation.items()
        }
        size = len(next(iter(part.values())))
        first = torch.ones(size, 1, dtype=torch.bool, device=world_model.device)
        seen = world_model.observe(part, neutral.expand(size, 1, -1), first)
        deters.append(seen.state.deter[:, 0])
        posts.append(seen.post[:, 0])
    return StartBank(torch.cat(deters), torch.cat(posts))


class DreamEnvironment:
    """`config.dreams` imagined episodes side by side; solved or timed-out ones start anew."""

    def __init__(
        self,
        world_model: WorldModel,
        classifier: nn.Module,
        starts: StartBank,
        config: DreamConfig,
    ) -> None:
        self.world_model = world_model
        self.classifier = classifier
        self.starts = starts
        self.config = config
        self.count = config.dreams
        self._short = rounds(config.precision, world_model.device)
        self._state = world_model.rssm.initial(0)
        self._chunks = torch.zeros(0, dtype=torch.int64)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> Tensor:
        """Start all dreams at random recorded frames: latents (N, F)."""
        self._state = self.starts.draw(self.count, generator)
        self._chunks = torch.zeros(self.count, dtype=torch.int64, device=self._state.deter.device)
        return self._state.feat

    @torch.no_grad()
    def step(self, chunk: Tensor, generator: torch.Generator) -> StepResult:
        """Dream the chunk (N, Ta, A); success is judged once, on the latent after it."""
        with torch.autocast(chunk.device.type, torch.bfloat16, enabled=self._short):
            state = self.world_model.rssm.dream(self._state, chunk, generator)
        final_latent = state.feat
        terminated = self.classifier(final_latent) > self.config.success_threshold
        self._chunks += 1
        truncated = (self._chunks >= self.config.max_chunks) & ~terminated
        ended = terminated | truncated
        fresh = self.starts.draw(self.count, generator)
        self._state = exchange(ended, fresh, state)
        self._chunks = self._chunks.masked_fill(ended, 0)
        return StepResult(self._state.feat, final_latent, terminated.float(), terminated, truncated)
