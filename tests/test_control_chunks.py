# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Chunks are handed out in order, and old ones never reach the arm."""

import numpy as np
import pytest

from diwa.control.chunks import ChunkQueue


def chunk(value: float, steps: int = 4) -> np.ndarray:
    return np.full((steps, 7), value, np.float32) + np.arange(steps, dtype=np.float32)[:, None]


def test_queue_hands_out_a_chunk_row_by_row():
    queue = ChunkQueue()
    assert queue.push(chunk(0.0), stamp_ns=10, epoch=0, sequence=1)
    assert len(queue) == 4
    assert [queue.pop()[0] for _ in range(4)] == [0.0, 1.0, 2.0, 3.0]
    assert queue.pop() is None


def test_newer_chunk_replaces_what_is_left():
    queue = ChunkQueue()
    queue.push(chunk(0.0), stamp_ns=10, epoch=0, sequence=1)
    queue.pop()
    assert queue.push(chunk(50.0), stamp_ns=20, epoch=0, sequence=2)
    assert queue.pop()[0] == 50.0
    assert len(queue) == 3


@pytest.mark.parametrize(("stamp", "sequence"), [(10, 5), (9, 6), (10, 4)])
def test_old_or_repeated_chunk_is_refused(stamp, sequence):
    queue = ChunkQueue()
    queue.push(chunk(0.0), stamp_ns=10, epoch=0, sequence=5)
    assert not queue.push(chunk(50.0), stamp_ns=stamp, epoch=0, sequence=sequence)
    assert queue.pop()[0] == 0.0


def test_restarted_sender_is_heard_again():
    queue = ChunkQueue()
    queue.push(chunk(0.0), stamp_ns=10, epoch=0, sequence=900)
    assert queue.push(chunk(1.0), stamp_ns=11, epoch=0, sequence=0)


def test_epoch_voids_what_is_held_and_refuses_others():
    queue = ChunkQueue()
    queue.push(chunk(0.0), stamp_ns=1000, epoch=0, sequence=1)
    queue.set_epoch(1)
    assert len(queue) == 0
    assert queue.epoch == 1
    assert not queue.push(chunk(0.0), stamp_ns=2000, epoch=0, sequence=2)
    assert not queue.push(chunk(0.0), stamp_ns=2000, epoch=2, sequence=2)
    assert queue.push(chunk(0.0), stamp_ns=5, epoch=1, sequence=0)


def test_flush_drops_actions_but_not_memory():
    queue = ChunkQueue()
    queue.push(chunk(0.0), stamp_ns=10, epoch=0, sequence=1)
    queue.flush()
    assert queue.pop() is None
    assert not queue.push(chunk(0.0), stamp_ns=10, epoch=0, sequence=1)


@pytest.mark.parametrize("shape", [(0, 7), (4, 6), (7,), (1, 4, 7)])
def test_malformed_chunk_is_refused(shape):
    assert not ChunkQueue().push(np.zeros(shape, np.float32), stamp_ns=1, epoch=0, sequence=1)


def test_queue_keeps_its_own_copy():
    queue = ChunkQueue()
    mine = chunk(0.0)
    queue.push(mine, stamp_ns=1, epoch=0, sequence=1)
    mine[:] = 9.0
    assert queue.pop()[0] == 0.0
