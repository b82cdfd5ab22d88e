# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Consecutive training windows, each begun with the state that the one before it ended with.

All episodes stand in one line, and the rows of a batch go along it side by side, one window a step.
A state is forgotten where an episode really begins, where a new pass over the data begins, and at
few random frames, because dreams and served skills may begin anywhere in an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from diwa.data.dataset import Dataset
from diwa.data.shard_reader import ShardReader
from diwa.errors import ConfigError
from diwa.train.team import Team
from diwa.train.windows import Batch, WindowSampler, gripper_entry
from diwa.world_model.rssm import State


class Piece(NamedTuple):
    """Frames of one episode that are part of a window."""

    episode: int
    start: int  # first frame, in the episode
    place: int  # where it goes in the window
    length: int


class StreamSampler:
    """The windows of every step: a function of the step, so there is nothing to save.

    Args:
        dataset: to read from.
        episode_ids: its episodes, of any length.
        keys: observations to read.
        seq_len: frames of a window.
        batch: rows, evenly spread over all frames.
        seed: of the offset, which every pass has its own of.
    """

    def __init__(
        self,
        dataset: Dataset,
        episode_ids: Sequence[str],
        keys: Sequence[str],
        seq_len: int,
        batch: int,
        seed: int,
    ) -> None:
        lengths = {episode.id: episode.length for episode in dataset.episodes}
        if not episode_ids:
            raise ConfigError(f"{dataset.path}: no episodes to train on")
        self.episode_ids = list(episode_ids)
        self.seq_len = seq_len
        self._seed = seed
        self._keys = list(keys)
        self._entry = gripper_entry(dataset.contract)
        self._neutral = np.array(dataset.contract.action.neutral, dtype=np.float32)
        self._reader = ShardReader(dataset, self.episode_ids, [*dict.fromkeys([*keys, "action"])])
        self._ends = np.cumsum([lengths[name] for name in self.episode_ids])
        self._spacing = -(-int(self._ends[-1]) // batch)
        self.steps_per_pass = -(-self._spacing // seq_len)

    def begins_pass(self, step: int) -> bool:
        """Whether the rows jump to other places at this step."""
        return step % self.steps_per_pass == 0

    def windows(
        self, step: int, rows: range, reset_rate: float, generator: torch.Generator
    ) -> Batch:
        """The windows of some rows at one step.

        Args:
            step: of the training.
            rows: of the whole batch.
            reset_rate: share of the frames at which a state is forgotten besides.
            generator: on the CPU, for these.
        """
        shape = (len(rows), self.seq_len)
        frames = {
            key: np.empty((*shape, *self._reader.specs[key][1]), self._reader.specs[key][0])
            for key in self._keys
        }
        action = np.empty((*shape, len(self._neutral)), dtype=np.float32)
        first = (torch.rand(shape, generator=generator) < reset_rate).numpy()
        first[:, 0] |= self.begins_pass(step)
        where = np.empty((2, len(rows)), dtype=np.int64)
        for index, row in enumerate(rows):
            pieces = list(self._pieces(self._position(step, row)))
            where[:, index] = pieces[0].episode, pieces[0].start
            for piece in pieces:
                self._fill(piece, {key: value[index] for key, value in frames.items()})
                self._fill_actions(piece, action[index])
                first[index, piece.place] |= piece.start == 0
        action[first] = self._neutral
        if "proprio" in frames and self._entry is not None:
            frames["proprio"][first, self._entry] = self._neutral[-1]
        observation = {key: torch.from_numpy(value) for key, value in frames.items()}
        return Batch(observation, torch.from_numpy(action), torch.from_numpy(first), *where)

    def _position(self, step: int, row: int) -> int:
        """Where in the line a row's window begins."""
        number, within = divmod(step, self.steps_per_pass)
        total = int(self._ends[-1])
        offset = int(np.random.default_rng([self._seed, number]).integers(total))
        return (offset + row * self._spacing + within * self.seq_len) % total

    def _pieces(self, position: int) -> Iterator[Piece]:
        """The episodes along a window; after the last one comes the first one."""
        place = 0
        while place < self.seq_len:
            episode = int(np.searchsorted(self._ends, position, side="right"))
            left = int(self._ends[episode]) - position
            begin = int(self._ends[episode - 1]) if episode else 0
            count = min(left, self.seq_len - place)
            yield Piece(episode, position - begin, place, count)
            place += count
            position = (position + count) % int(self._ends[-1])

    def _fill(self, piece: Piece, into: dict[str, np.ndarray]) -> None:
        end = piece.place + piece.length
        for key, value in into.items():
            self._reader.read(key, piece.episode, piece.start, value[piece.place : end])

    def _fill_actions(self, piece: Piece, into: np.ndarray) -> None:
        """The action before each frame; before an episode's first one there is none."""
        known = piece.start == 0
        if known:
            into[piece.place] = self._neutral
        rest = into[piece.place + known : piece.place + piece.length]
        self._reader.read("action", piece.episode, piece.start - 1 + known, rest)


class Feed(Protocol):
    """Where a training step takes its windows from.

    Attributes:
        carries: there is something to save.
    """

    carries: bool

    def next(self, step: int, generator: torch.Generator) -> tuple[Batch, State | None]:
        """The windows of a step, and the state before each; None: zeros."""
        ...

    def keep(self, last: State) -> None:
        """What the model's state was after the windows."""
        ...

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        ...

    def load(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        ...


class RandomFeed:
    """Windows from anywhere, with nothing before them."""

    carries = False

    def __init__(self, sampler: WindowSampler, batch: int) -> None:
        self._sampler = sampler
        self._batch = batch

    def next(self, step: int, generator: torch.Generator) -> tuple[Batch, State | None]:
        """Random windows."""
        return self._sampler.sample(self._batch, generator), None

    def keep(self, last: State) -> None:
        """Nothing is carried."""

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load(self, state: dict[str, Any]) -> None:
        """Nothing."""


class StreamFeed:
    """Consecutive windows, with the state carried along.

    Args:
        sampler: of the whole batch.
        rows: of the whole batch, over all processes of the team.
        reset_rate: share of the frames at which the state is forgotten besides.
        team: every process works on its rows, and all remember the states of all rows, so that
            the leader can save them.
        device: of the state.
    """

    carries = True

    def __init__(
        self,
        sampler: StreamSampler,
        rows: int,
        reset_rate: float,
        team: Team,
        device: torch.device,
    ) -> None:
        share = team.share(rows)
        self._sampler = sampler
        self._rows = range(team.rank * share, (team.rank + 1) * share)
        self._reset_rate = reset_rate
        self._team = team
        self._device = device
        self._last: State | None = None

    def next(self, step: int, generator: torch.Generator) -> tuple[Batch, State | None]:
        """The next window of each of this process's rows."""
        batch = self._sampler.windows(step, self._rows, self._reset_rate, generator)
        if self._last is None:
            return batch, None
        mine = slice(self._rows.start, self._rows.stop)
        return batch, State(self._last.deter[mine], self._last.stoch[mine])

    def keep(self, last: State) -> None:
        """Remember the state after the windows."""
        deter, stoch = (part.float().clone() for part in last)  # the next step overwrites its own
        self._last = State(self._team.gather(deter), self._team.gather(stoch))

    def state(self) -> dict[str, Any]:
        """The carried state of all rows."""
        return {} if self._last is None else self._last._asdict()

    def load(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        loaded = {name: value.to(self._device) for name, value in state.items()}
        self._last = State(**loaded) if loaded else None
