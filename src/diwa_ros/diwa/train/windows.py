# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Training windows from the dataset.

A window that starts in the middle of an episode is treated as an episode that starts there: the
recurrent state is zero, `is_first` is set and nothing is known of actions before it. Dreams and
served skills start in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diwa.data.contract import PROPRIO_SIZES, Contract
from diwa.data.dataset import Dataset
from diwa.data.shard_reader import ShardReader
from diwa.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows, axes (B, T)."""

    observation: dict[str, Tensor]
    previous_action: Tensor  # (B, T, A) float32, neutral where is_first
    is_first: Tensor  # (B, T) bool
    episode: np.ndarray  # (B,) index into the sampler's episodes
    start: np.ndarray  # (B,) first frame of the window

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        moved = {key: value.to(device) for key, value in self.observation.items()}
        action, first = self.previous_action.to(device), self.is_first.to(device)
        return Batch(moved, action, first, self.episode, self.start)


def gripper_entry(contract: Contract) -> int | None:
    """Index of the last gripper action in proprioception, None if it is not part of it."""
    offset = 0
    for part in contract.proprio:
        if part == "gripper_action":
            return offset
        offset += PROPRIO_SIZES[part]
    return None


class WindowSampler:
    """Random windows of `seq_len` frames from some episodes, every start equally likely."""

    def __init__(
        self, dataset: Dataset, episode_ids: Sequence[str], keys: Sequence[str], seq_len: int
    ) -> None:
        lengths = {episode.id: episode.length for episode in dataset.episodes}
        self.episode_ids = [name for name in episode_ids if lengths[name] >= seq_len]
        if not self.episode_ids:
            raise ConfigError(
                f"{dataset.path}: no episode is long enough for training",
                got=f"longest of {len(episode_ids)}: "
                f"{max((lengths[name] for name in episode_ids), default=0)} frames",
                expected=f"at least {seq_len} frames",
                hint="record longer play episodes or lower seq_len",
            )
        self.seq_len = seq_len
        self._entry = gripper_entry(dataset.contract)
        self._neutral = np.array(dataset.contract.action.neutral, dtype=np.float32)
        self._keys = list(keys)
        self._reader = ShardReader(dataset, self.episode_ids, [*dict.fromkeys([*keys, "action"])])
        counts = [lengths[name] - seq_len + 1 for name in self.episode_ids]
        self._ends = np.cumsum(counts)

    def sample(self, batch: int, generator: torch.Generator) -> Batch:
        """`batch` windows; `generator` is on the CPU."""
        draw = torch.randint(int(self._ends[-1]), (batch,), generator=generator).numpy()
        episode = np.searchsorted(self._ends, draw, side="right")
        start = draw - np.concatenate(([0], self._ends))[episode]
        return self.windows(episode, start)

    def windows(self, episode: np.ndarray, start: np.ndarray) -> Batch:
        """The windows that begin at frames `start` (B,) of episodes `episode` (B,)."""
        length = self.seq_len
        places = list(zip(episode.tolist(), start.tolist(), strict=True))
        observation = {key: torch.from_numpy(self._read(key, places)) for key in self._keys}
        if "proprio" in observation and self._entry is not None:
            observation["proprio"][:, 0, self._entry] = float(self._neutral[-1])
        action = np.empty((len(places), length, len(self._neutral)), dtype=np.float32)
        action[:, 0] = self._neutral
        for row, (e, s) in enumerate(places):
            self._reader.read("action", e, s, action[row, 1:])
        first = torch.zeros(len(places), length, dtype=torch.bool)
        first[:, 0] = True
        return Batch(observation, torch.from_numpy(action), first, episode, start)

    def _read(self, key: str, places: list[tuple[int, int]]) -> np.ndarray:
        """Frames of one key, (B, T, ...), from (episode, start) on."""
        dtype, shape = self._reader.specs[key]
        frames = np.empty((len(places), self.seq_len, *shape), dtype=dtype)
        for row, (episode, start) in enumerate(places):
            self._reader.read(key, episode, start, frames[row])
        return frames


def split_episodes(
    dataset: Dataset, kind: str, holdout: float, seed: int
) -> tuple[list[str], list[str]]:
    """Whole episodes of `kind` into training and held-out, about `holdout` of the frames.

    At least one episode is held out when there are two or more.
    """
    episodes = [episode for episode in dataset.episodes if episode.kind == kind]
    if not episodes:
        raise ConfigError(
            f"{dataset.path}: no {kind} episodes",
            hint=f"record some, or label episodes of this dataset as {kind}",
        )
    order = np.random.default_rng(seed).permutation(len(episodes))
    total = sum(episode.length for episode in episodes)
    held: list[str] = []
    frames = 0
    for index in order[:-1]:
        if holdout == 0 or frames >= holdout * total:
            break
        held.append(episodes[index].id)
        frames += episodes[index].length
    return [episode.id for episode in episodes if episode.id not in held], held
