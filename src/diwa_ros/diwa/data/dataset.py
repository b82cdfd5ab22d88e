# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes as arrays on disk: opened in no time, read without copies, written one by one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from tokenize import TokenError

import numpy as np

from diwa.data.arrays import array_specs, complete_arrays
from diwa.data.contract import Contract
from diwa.data.edit import edit_episodes
from diwa.data.episode import Kind, Outcome
from diwa.data.manifest import (
    MANIFEST,
    EpisodeInfo,
    Manifest,
    locked,
    read_manifest,
    read_record,
    record_path,
    shard_path,
    write_manifest,
)
from diwa.data.shards import EpisodeShards
from diwa.data.statistics import Statistics, statistics_of
from diwa.errors import ConfigError

# Every memory map holds a file descriptor, and a process may have few of them (often 1024):
# small arrays are read instead, and only so many large ones stay mapped.
SMALL_BYTES = 1 << 18
MOST_MAPS = 128
# What NumPy raises for a file that is damaged or none of its own.
UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, TokenError, OverflowError, MemoryError)


class Dataset:
    """A finished dataset folder, for reading.

    Attributes:
        path: the folder.
        manifest: everything it says about itself, deleted episodes included.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._small: dict[tuple[str, str], np.ndarray] = {}
        self._mapped: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Open a dataset folder; `ConfigError` when it is none or is not finished."""
        return cls(Path(path), read_manifest(Path(path)))

    @property
    def contract(self) -> Contract:
        """The contract that its frames follow."""
        return self.manifest.contract

    @property
    def hash(self) -> str:
        """Short hash of all arrays, labels and deletions."""
        return self.manifest.hash

    @cached_property
    def episodes(self) -> tuple[EpisodeInfo, ...]:
        """Episodes that are not deleted."""
        return tuple(info for info in self.manifest.episodes if not info.deleted)

    @cached_property
    def statistics(self) -> dict[str, Statistics]:
        """Per key except "stamp_ns", over `episodes`; actions without the padding at the end."""
        return {key: statistics_of(value) for key, value in self.manifest.statistics.items()}

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of an episode's arrays."""
        return tuple(array_specs(self.contract))

    def array(self, episode_id: str, key: str) -> np.ndarray:
        """One array of one episode, read-only, mapped from disk where it is large.

        Returns:
            "stamp_ns": (T,) int64 [ns]; "action": (T, 7) float32, ``action[t]`` was executed
            between frames t and t+1, the last row is neutral; "proprio": (T, P) float32;
            scene keys: (T, size) float32; image keys: (T, h, w, 3) uint8, RGB.
        """
        name = (episode_id, key)
        if name in self._small:
            return self._small[name]
        if name in self._mapped:
            self._mapped.move_to_end(name)
            return self._mapped[name]
        array = self._load(shard_path(self.path, key, episode_id))
        if isinstance(array, np.memmap):
            self._mapped[name] = array
            if len(self._mapped) > MOST_MAPS:
                self._mapped.popitem(last=False)
        else:
            array.flags.writeable = False
            self._small[name] = array
        return array

    def _load(self, path: Path) -> np.ndarray:
        try:
            small = path.stat().st_size < SMALL_BYTES
            loaded: np.ndarray = np.load(path, mmap_mode=None if small else "r", allow_pickle=False)
        except UNREADABLE as error:
            raise ConfigError(
                f"{path}: cannot be read",
                got=error,
                hint=f"`diwa dataset doctor {self.path}` says what else is damaged",
            ) from error
        return loaded

    def with_edit(
        self,
        episode_id: str,
        *,
        task: str | None = None,
        outcome: Outcome | None = None,
        deleted: bool | None = None,
    ) -> Dataset:
        """Change one row of the episode table on disk, and return the dataset as it is then.

        Arrays are never touched, so every edit can be taken back; see `diwa.data.edit`.
        """
        changes = {"task": task, "outcome": outcome, "deleted": deleted}
        given = {name: value for name, value in changes.items() if value is not None}
        return Dataset(self.path, edit_episodes(self.path, {episode_id: given}))


class DatasetWriter:
    """Adds episodes to a dataset folder; `finish` makes it readable.

    Every episode is complete on disk when `add_episode` returns, so that a broken-off job goes on
    with the next one (`has`). Opening a finished dataset adds to it.
    """

    def __init__(self, path: Path, contract: Contract) -> None:
        self.path = Path(path)
        self.contract = contract
        if (self.path / MANIFEST).is_file():
            theirs = read_manifest(self.path).contract
            contract.require_same(theirs, "the given contract", str(self.path))

    def has(self, episode_id: str) -> bool:
        """Whether that episode is completely on disk."""
        return record_path(self.path, episode_id).is_file()

    def add_episode(
        self,
        episode_id: str,
        kind: Kind,
        task: str,
        outcome: Outcome,
        arrays: Mapping[str, np.ndarray],
        source: str = "",
    ) -> EpisodeInfo:
        """Write one episode, in place of an older one of that id.

        Args:
            episode_id: letters, digits, "_", "-" and ".".
            kind: "play" or "demo".
            task: skill of a demonstration, "" for play.
            outcome: "unknown", "success" or "failure".
            arrays: as `Dataset.array` returns them, T >= 2 frames each. "action" may have T-1
                rows (the neutral one is added); "stamp_ns" may be left out (control periods
                from 0).
            source: where it comes from, for people.

        Raises:
            ConfigError: arrays that do not fit the contract or are not finite.
        """
        checked = complete_arrays(self.contract, episode_id, arrays)
        shards = EpisodeShards(self.path, self.contract, episode_id)
        try:
            shards.append({**checked, "action": checked["action"][:-1]})
            written = shards.close()
        finally:
            shards.abandon()
        return written.enter(self.path, kind, task, outcome, source)

    def finish(self, only: Collection[str] | None = None) -> Dataset:
        """Write the manifest over the episodes in the folder.

        Args:
            only: ids of the episodes to take in; None for all that the folder holds.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            names = sorted(path.stem for path in (self.path / "episodes").glob("*.json"))
            chosen = [name for name in names if only is None or name in only]
            rows = [read_record(self.path, name).info for name in chosen]
            return Dataset(self.path, write_manifest(self.path, self.contract, rows))
