# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Mean, spread and range of recorded arrays, kept per episode so that episodes can be left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from diwa.config import Config

BLOCK_NUMBERS = 200_000  # float64 is eight times uint8
VALUES = np.arange(256, dtype=np.float64)


class Moments(Config):
    """Sums of one array over all axes but the last; they add up over episodes."""

    count: int
    mean: tuple[float, ...]
    squares: tuple[float, ...]  # sum of squared distances from the mean
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of one key over a dataset.

    Attributes:
        mean: (C,) float32, in the key's units; C is the last axis (channels of an image).
        std: (C,) float32; zero where a channel never changes.
        min: (C,) float32.
        max: (C,) float32.
    """

    mean: np.ndarray
    std: np.ndarray
    min: np.ndarray
    max: np.ndarray


def moments_of(values: np.ndarray) -> Moments:
    """Moments of `values` (T, ..., C), computed in float64, some frames at a time."""
    step = frames_per_block(values[:1].size)
    blocks = (values[start : start + step] for start in range(0, len(values), step))
    return moments_of_blocks(blocks)


def frames_per_block(numbers: int) -> int:
    """How many frames of so many numbers are looked at together.

    The moments of an array and of the file that it became are then equal to the last bit.
    """
    return max(1, BLOCK_NUMBERS // max(numbers, 1))


def moments_of_blocks(blocks: Iterable[np.ndarray]) -> Moments:
    """Moments of consecutive blocks (n, ..., C) of one array; one block at a time is held."""
    return merge([_moments(block) for block in blocks])


def _moments(block: np.ndarray) -> Moments:
    channels = block.shape[-1]
    if block.dtype == np.uint8:
        return _moments_of_bytes(block.reshape(-1, 1, channels))
    # Rows of all pixels: long rows add up fast.
    rows = block.reshape(len(block), -1)
    mean = rows.sum(axis=0, dtype=np.float64).reshape(-1, channels).mean(axis=0) / len(rows)
    squares = np.square(rows - np.tile(mean, rows.shape[1] // channels)).sum(axis=0)
    return Moments(
        count=rows.size // channels,
        mean=tuple(mean.tolist()),
        squares=tuple(squares.reshape(-1, channels).sum(axis=0).tolist()),
        minimum=tuple(rows.min(axis=0).reshape(-1, channels).min(axis=0).tolist()),
        maximum=tuple(rows.max(axis=0).reshape(-1, channels).max(axis=0).tolist()),
    )


def _moments_of_bytes(pixels: np.ndarray) -> Moments:
    """Moments of (N, 1, C) uint8 from how often each value occurs: exact, and much faster."""
    means, squares, lowest, highest = [], [], [], []
    for channel in range(pixels.shape[-1]):
        # float32, but whole numbers: a block has fewer pixels than 2 ** 24.
        found = cv2.calcHist([pixels], [channel], None, [256], [0, 256])
        counts = found.reshape(-1).astype(np.float64)
        mean = float(counts @ VALUES) / len(pixels)
        present = np.flatnonzero(counts)
        means.append(mean)
        squares.append(float(counts @ np.square(VALUES - mean)))
        lowest.append(float(present[0]))
        highest.append(float(present[-1]))
    return Moments(
        count=len(pixels),
        mean=tuple(means),
        squares=tuple(squares),
        minimum=tuple(lowest),
        maximum=tuple(highest),
    )


def merge(parts: Sequence[Moments]) -> Moments:
    """Moments of all samples behind `parts` together (Chan's update)."""
    count = sum(part.count for part in parts)
    counts = np.array([part.count for part in parts], dtype=np.float64)[:, None]
    means = np.array([part.mean for part in parts])
    mean = (counts * means).sum(axis=0) / count
    between = (counts * np.square(means - mean)).sum(axis=0)
    squares = np.array([part.squares for part in parts]).sum(axis=0) + between
    return Moments(
        count=count,
        mean=tuple(mean.tolist()),
        squares=tuple(squares.tolist()),
        minimum=tuple(np.min([part.minimum for part in parts], axis=0).tolist()),
        maximum=tuple(np.max([part.maximum for part in parts], axis=0).tolist()),
    )


def statistics_of(moments: Moments) -> Statistics:
    """What learning uses of the moments."""
    return Statistics(
        mean=np.array(moments.mean, dtype=np.float32),
        std=np.sqrt(np.array(moments.squares) / moments.count).astype(np.float32),
        min=np.array(moments.minimum, dtype=np.float32),
        max=np.array(moments.maximum, dtype=np.float32),
    )
