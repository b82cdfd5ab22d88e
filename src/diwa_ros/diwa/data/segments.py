# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Frames to the shards of episodes, one per segment; some frames at a time are held."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from diwa.data.build_report import Segment
from diwa.data.contract import Contract
from diwa.data.frames import Frame
from diwa.data.shards import EpisodeShards, WrittenEpisode

FRAMES_AT_ONCE = 16  # few enough to stay in the processor's cache


class SegmentWriter:
    """Frames to episodes, one per segment of two or more frames; for a `with` statement.

    Attributes:
        segments: all so far.
        written: shards of those that are long enough, not yet entered in the dataset.
    """

    def __init__(self, out: Path, contract: Contract, episode_id: str) -> None:
        self.segments: list[Segment] = []
        self.written: list[WrittenEpisode] = []
        self._out = out
        self._contract = contract
        self._id = episode_id
        self._frames: list[Frame] = []
        self._shards: EpisodeShards | None = None
        self._first: Frame | None = None
        self._last_ns = 0

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shards is not None:
            self._shards.abandon()

    def add(self, frame: Frame) -> None:
        """Add the next frame."""
        if frame.is_first:
            self.end_segment()
            self._first = frame
        self._frames.append(frame)
        self._last_ns = frame.stamp_ns
        if len(self._frames) >= FRAMES_AT_ONCE:
            self._flush()

    def end_segment(self) -> None:
        """Complete the segment's shards; a single frame becomes no episode."""
        if self._first is None:
            return
        name, length = "", 1
        if self._shards is not None or len(self._frames) > 1:
            self._flush()
            assert self._shards is not None
            self.written.append(self._shards.close())
            self._shards = None
            name, length = self.written[-1].id, self.written[-1].length
        self.segments.append(
            Segment(
                cause=self._first.cause,
                episode=name,
                frames=length,
                start_ns=self._first.stamp_ns,
                end_ns=self._last_ns,
            )
        )
        self._frames, self._first = [], None

    def _flush(self) -> None:
        if not self._frames:
            return
        if self._shards is None:
            number = len(self.written) + 1
            name = self._id if number == 1 else f"{self._id}-{number}"
            self._shards = EpisodeShards(self._out, self._contract, name)
        self._shards.append(stack_frames(self._frames))
        self._frames = []


def stack_frames(frames: Sequence[Frame]) -> dict[str, np.ndarray]:
    """Arrays of consecutive frames of one segment as `EpisodeShards.append` takes them.

    ``action[t]`` is the action between frames t and t+1, which frame t+1 knows as its previous
    action; the segment's first frame has none.
    """
    keys = frames[0].observation
    return {
        "stamp_ns": np.array([frame.stamp_ns for frame in frames], dtype=np.int64),
        "action": np.stack([frame.previous_action for frame in frames if not frame.is_first]),
        **{key: np.stack([frame.observation[key] for frame in frames]) for key in keys},
    }
