# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes written to their shards some frames at a time, so that memory does not grow with them.

A shard is a plain `.npy` file. Its header leaves room for the number of frames, which is filled in
at the end; hash and moments are then taken from the file, a block at a time.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pydantic

from diwa.data.arrays import array_specs, check_array
from diwa.data.contract import Contract
from diwa.data.episode import EpisodeId, Kind, Outcome
from diwa.data.manifest import EpisodeFile, EpisodeInfo, record_path, shard_path, write_record
from diwa.data.statistics import Moments, frames_per_block, moments_of_blocks
from diwa.errors import ConfigError
from diwa.files import fsync_path


class WrittenEpisode(NamedTuple):
    """Shards that are on disk but not yet an episode of the dataset.

    Attributes:
        id: names the files.
        length: frames.
        content: hash of all arrays.
        moments: per key except "stamp_ns"; actions without the padding at the end.
    """

    id: str
    length: int
    content: str
    moments: dict[str, Moments]

    def enter(
        self, folder: Path, kind: Kind, task: str, outcome: Outcome, source: str
    ) -> EpisodeInfo:
        """Make it an episode of the dataset in `folder`; see `DatasetWriter.add_episode`."""
        info = EpisodeInfo(
            id=self.id,
            length=self.length,
            kind=kind,
            task=task,
            outcome=outcome,
            source=source,
            content=self.content,
        )
        write_record(folder, EpisodeFile(info=info, moments=self.moments))
        return info


class EpisodeShards:
    """The shards of one episode while they grow; `close` or `abandon` ends it.

    Until `close`, everything is in files with temporary names: an older episode of that id stays
    as it was, and what a broken-off job leaves is overwritten by the next one.
    """

    def __init__(self, folder: Path, contract: Contract, episode_id: str) -> None:
        """Begin an episode.

        Args:
            folder: of the dataset.
            contract: says which arrays there are.
            episode_id: letters, digits, "_", "-" and ".".
        """
        pydantic.TypeAdapter(EpisodeId).validate_python(episode_id)
        self.length = 0
        self._folder = folder
        self._id = episode_id
        self._neutral = np.array([contract.action.neutral], dtype=np.float32)
        self._specs = array_specs(contract)
        self._targets = {key: shard_path(folder, key, episode_id) for key in self._specs}
        self._files: dict[str, BinaryIO] = {}
        for key, target in self._targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            self._files[key] = _temporary(target).open("wb+")
            self._files[key].write(_header(*self._specs[key], length=0))

    def append(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add frames.

        Args:
            arrays: every key of the contract's arrays, n frames each; "action" has n - 1 rows in
                the first call, since nothing is known of what led to the first frame.

        Raises:
            ConfigError: arrays that do not fit the contract or are not finite.
        """
        frames = len(arrays["proprio"])
        for key, (dtype, shape) in self._specs.items():
            rows = frames - (key == "action" and self.length == 0)
            what = f"episode {self._id}: {key}"
            array = check_array(what, arrays[key], dtype, (rows, *shape))
            self._files[key].write(array.data if array.size else b"")
        self.length += frames

    def close(self) -> WrittenEpisode:
        """Complete the shards on disk, in place of older ones of that id."""
        if self.length < 2:
            self.abandon()
            raise ConfigError(
                f"episode {self._id}: too short",
                got=f"{self.length} frames",
                expected="2 or more",
            )
        self._files["action"].write(self._neutral.data)
        digest = hashlib.sha256()
        moments = {}
        for key in sorted(self._specs):
            measured = self._finish(key, digest)
            if measured is not None:
                moments[key] = measured
        record_path(self._folder, self._id).unlink(missing_ok=True)
        for target in self._targets.values():
            _temporary(target).replace(target)
            fsync_path(target.parent)
        return WrittenEpisode(self._id, self.length, digest.hexdigest()[:16], moments)

    def abandon(self) -> None:
        """Remove what was written."""
        for key, stream in self._files.items():
            with suppress(OSError):  # a full disk refuses what is still in the buffer
                stream.close()
            _temporary(self._targets[key]).unlink(missing_ok=True)

    def _finish(self, key: str, digest: Any) -> Moments | None:
        """Fill in the header, flush to disk and read it all once."""
        dtype, shape = self._specs[key]
        stream = self._files[key]
        header = _header(dtype, shape, self.length)
        stream.seek(0)
        stream.write(header)
        stream.close()
        fsync_path(_temporary(self._targets[key]))
        digest.update(f"{key} {dtype} {(self.length, *shape)}".encode())
        with _temporary(self._targets[key]).open("rb") as reading:
            reading.seek(len(header))
            if key == "stamp_ns":
                digest.update(reading.read())
                return None
            measured = self.length - (key == "action")
            moments = moments_of_blocks(_blocks(reading, digest, dtype, shape, measured))
            digest.update(reading.read())
            return moments


def _blocks(
    stream: BinaryIO, digest: Any, dtype: np.dtype, shape: tuple[int, ...], length: int
) -> Iterator[np.ndarray]:
    """The next `length` frames of a shard, in blocks that are hashed on the way."""
    numbers = int(np.prod(shape))
    step = frames_per_block(numbers)
    for start in range(0, length, step):
        data = stream.read(min(step, length - start) * numbers * dtype.itemsize)
        digest.update(data)
        yield np.frombuffer(data, dtype).reshape(-1, *shape)


def _header(dtype: np.dtype, shape: tuple[int, ...], length: int) -> bytes:
    """Header of a `.npy` file; equally long for every `length`, as NumPy pads the first axis."""
    stream = io.BytesIO()
    facts = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (length, *shape),
    }
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue()


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.tmp")
