# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The simulator as an environment for PPO: DPPO as the online baseline (Ren et al. 2024).

The same policy, latents, algorithm and success condition as in the dream, but every step is a step
of the simulator, and counted. What it needs is what the dream saves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diwa.rl.environment import StepResult
from diwa.sim.pool import Observation, SimulatorPool
from diwa.world_model.model import WorldModel
from diwa.world_model.rssm import State


class SimulatorEnvironment:
    """Simulated episodes side by side, seen through the world model's filter.

    Args:
        pool: the tables.
        world_model: filters observations into the policy's latents.
        max_chunks: an episode is cut after this many chunks.
        first_seed: of the episodes' starts, which are numbered on from there.

    Attributes:
        steps: control steps simulated so far.
    """

    def __init__(
        self, pool: SimulatorPool, world_model: WorldModel, max_chunks: int, first_seed: int
    ) -> None:
        self.count = pool.count
        self.steps = 0
        self._pool = pool
        self._world_model = world_model
        self._max_chunks = max_chunks
        self._next_seed = first_seed
        self._state = world_model.rssm.initial(0)
        self._chunks = torch.zeros(0, dtype=torch.int64)

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs; every rollout begins with a reset."""
        return {"steps": self.steps, "next_seed": self._next_seed}

    def load(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        self.steps, self._next_seed = int(state["steps"]), int(state["next_seed"])

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> Tensor:
        """Start all episodes anew: latents (N, F)."""
        self._state = self._begin(range(self.count), generator)
        self._chunks = torch.zeros(self.count, dtype=torch.int64)
        return self._state.feat

    @torch.no_grad()
    def step(self, chunk: Tensor, generator: torch.Generator) -> StepResult:
        """Execute the chunks (N, Ta, A); an episode is solved when any of its steps solves it."""
        device = chunk.device
        executed = self._pool.execute(chunk.cpu().numpy())
        self.steps += chunk.shape[0] * chunk.shape[1]
        seen = self._world_model.observe(
            _tensors(executed.observation, device),
            torch.from_numpy(executed.action).to(device),
            torch.zeros(self.count, chunk.shape[1], dtype=torch.bool, device=device),
            self._state,
            generator,
        )
        state = seen.state.at(-1)
        terminated = torch.from_numpy(executed.solved)
        self._chunks += 1
        truncated = (self._chunks >= self._max_chunks) & ~terminated
        ended = terminated | truncated
        self._chunks = torch.where(ended, 0, self._chunks)
        self._state = self._renew(state, ended, generator)
        terminated, truncated = terminated.to(device), truncated.to(device)
        return StepResult(self._state.feat, state.feat, terminated.float(), terminated, truncated)

    def _renew(self, state: State, ended: Tensor, generator: torch.Generator) -> State:
        index = torch.nonzero(ended).flatten()
        if not len(index):
            return state
        fresh = self._begin(index.tolist(), generator)
        place = index.to(state.deter.device)
        return State(
            state.deter.index_copy(0, place, fresh.deter),
            state.stoch.index_copy(0, place, fresh.stoch),
        )

    def _begin(self, tables: Iterable[int], generator: torch.Generator) -> State:
        """New episodes in some tables: the states after their first frames."""
        seeds = {table: self._next_seed + i for i, table in enumerate(tables)}
        self._next_seed += len(seeds)
        frames = _tensors(self._pool.reset(seeds), self._world_model.device)
        size = len(seeds)
        neutral = self._world_model.rssm.neutral_action.expand(size, 1, -1)
        first = torch.ones(size, 1, dtype=torch.bool, device=self._world_model.device)
        observation = {key: value.unsqueeze(1) for key, value in frames.items()}
        return self._world_model.observe(observation, neutral, first, None, generator).state.at(0)


def _tensors(observation: Observation, device: torch.device) -> dict[str, Tensor]:
    return {key: torch.from_numpy(np.asarray(v)).to(device) for key, v in observation.items()}
