# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Chunks of actions as they arrive, handed out one action per control step."""

from __future__ import annotations

from collections import deque

import numpy as np


class ChunkQueue:
    """Holds what is left of the newest chunk.

    A newer chunk replaces the rest of the one before: it was computed from a newer observation.
    """

    def __init__(self, action_size: int = 7) -> None:
        self._action_size = action_size
        self._actions: deque[np.ndarray] = deque()
        self._epoch = 0
        self._newest: tuple[int, int] | None = None  # stamp, sequence

    @property
    def epoch(self) -> int:
        """Chunks of any other epoch are refused."""
        return self._epoch

    def push(self, chunk: np.ndarray, stamp_ns: int, epoch: int, sequence: int) -> bool:
        """Take a chunk (Ta, 7); false when it is refused.

        Args:
            chunk: (Ta, 7) actions; their values are the safety filter's affair.
            stamp_ns: stamp of the observation it was computed from [ns].
            epoch: episode epoch it was made for.
            sequence: the sender's count; orders chunks from the same observation.
        """
        chunk = np.asarray(chunk, dtype=np.float32)
        if chunk.ndim != 2 or chunk.shape[0] == 0 or chunk.shape[1] != self._action_size:
            return False
        if epoch != self._epoch:
            return False
        if self._newest is not None and (stamp_ns, sequence) <= self._newest:
            return False
        self._newest = (stamp_ns, sequence)
        self._actions = deque(chunk.copy())
        return True

    def pop(self) -> np.ndarray | None:
        """The next action (7,) float32, or None when there is none."""
        return self._actions.popleft() if self._actions else None

    def set_epoch(self, epoch: int) -> None:
        """Begin another episode: what is held, and whatever still arrives for others, is void."""
        self._epoch = epoch
        self._newest = None
        self._actions.clear()

    def flush(self) -> None:
        """Drop what is held; chunks older than it stay refused."""
        self._actions.clear()

    def __len__(self) -> int:
        return len(self._actions)
