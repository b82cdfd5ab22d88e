# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of frames from shards into given memory, through files and not through memory maps.

Pages of a mapped file count as this process's memory once they were touched, so that random windows
from maps make it look as large as the dataset. A read costs the same and leaves nothing behind. Few
files are kept open, whatever the number of episodes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diwa.data.arrays import array_specs
from diwa.data.dataset import UNREADABLE, Dataset
from diwa.data.manifest import shard_path
from diwa.errors import ConfigError

MOST_OPEN = 256  # a process may often have 1024
DAMAGED = "`diwa dataset doctor` says what else is damaged; build that episode again"


class _Shard(NamedTuple):
    path: Path
    offset: int  # of the first frame [bytes]
    frame_bytes: int


class ShardReader:
    """Reads some keys of some episodes; episodes go by their place in `episode_ids`.

    Args:
        dataset: a dataset.
        episode_ids: its episodes.
        keys: arrays to read.

    Attributes:
        specs: type and shape of one frame, by key.

    Raises:
        ConfigError: names a shard that is missing, damaged or other than the contract says.
    """

    def __init__(self, dataset: Dataset, episode_ids: list[str], keys: list[str]) -> None:
        known = array_specs(dataset.contract)
        self.specs = {key: known[key] for key in keys}
        lengths = {info.id: info.length for info in dataset.episodes}
        self._shards = {
            key: [
                _read_header(shard_path(dataset.path, key, name), dtype, (lengths[name], *shape))
                for name in episode_ids
            ]
            for key, (dtype, shape) in self.specs.items()
        }
        self._open: OrderedDict[Path, int] = OrderedDict()

    def __del__(self) -> None:
        for descriptor in getattr(self, "_open", {}).values():
            os.close(descriptor)

    def read(self, key: str, episode: int, start: int, into: np.ndarray) -> None:
        """Fill `into` (n, ...) with the frames from `start` on.

        Args:
            key: one of the keys.
            episode: place in `episode_ids`.
            start: first frame.
            into: contiguous, of the key's type and shape.
        """
        assert into.flags.c_contiguous, into.strides
        shard = self._shards[key][episode]
        view = into.reshape(-1).view(np.uint8).data
        where = shard.offset + start * shard.frame_bytes
        while view:
            count = os.preadv(self._descriptor(shard.path), [view], where)
            if count == 0:
                raise ConfigError(f"{shard.path}: ends too early", hint=DAMAGED)
            view, where = view[count:], where + count

    def _descriptor(self, path: Path) -> int:
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        if len(self._open) >= MOST_OPEN:
            os.close(self._open.popitem(last=False)[1])
        descriptor = self._open[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return descriptor


def _read_header(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> _Shard:
    try:
        with path.open("rb") as stream:
            np.lib.format.read_magic(stream)
            found, by_columns, found_dtype = np.lib.format.read_array_header_1_0(stream)
            offset = stream.tell()
            size = os.fstat(stream.fileno()).st_size
    except UNREADABLE as error:
        raise ConfigError(f"{path}: cannot be read", got=error, hint=DAMAGED) from error
    frame_bytes = int(np.prod(shape[1:])) * dtype.itemsize
    if (found, found_dtype) != (shape, dtype) or by_columns:
        raise ConfigError(
            f"{path}: another array than the manifest says",
            got=f"{found_dtype} {found}",
            expected=f"{dtype} {shape}",
            hint=DAMAGED,
        )
    if size < offset + shape[0] * frame_bytes:
        raise ConfigError(
            f"{path}: ends too early",
            got=f"{size} bytes",
            expected=f"{offset + shape[0] * frame_bytes} bytes",
            hint=DAMAGED,
        )
    return _Shard(path, offset, frame_bytes)
