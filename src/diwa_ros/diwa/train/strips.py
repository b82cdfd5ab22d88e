# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Film strips: a few frames of an episode or a dream side by side in one PNG, with a caption."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from diwa.files import atomic_path, write_text

GAP = 4  # between frames [px]


def film_strip(images: Sequence[np.ndarray], path: Path, columns: int, caption: str = "") -> None:
    """Write `images` as a grid, row by row, to the PNG file `path`.

    Args:
        images: (h, w, 3) uint8 RGB each, all of one size.
        path: ends in `.png`; the caption goes beside it into `.txt`.
        columns: frames per row.
        caption: what a person sees there; the report shows it.
    """
    if not images or columns < 1:
        raise ValueError(f"nothing to show: {len(images)} images in {columns} columns")
    height, width, _ = images[0].shape
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    size = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP)
    canvas = np.zeros((*size, 4), np.uint8)  # transparent where there is no frame
    for index, image in enumerate(images):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        canvas[top : top + height, left : left + width, :3] = image
        canvas[top : top + height, left : left + width, 3] = 255
    sound, data = cv2.imencode(".png", cv2.cvtColor(canvas, cv2.COLOR_RGBA2BGRA))
    assert sound
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
    if caption:
        write_text(path.with_suffix(".txt"), caption + "\n")


class StripRecorder:
    """A `Recorder` for `diwa.sim.evaluate`: every `every`-th frame of the first few episodes."""

    def __init__(self, episodes: int = 1, every: int = 10) -> None:
        self.frames: dict[int, list[np.ndarray]] = {}
        self._episodes = episodes
        self._every = every

    def __call__(self, episode: int, step: int, render: Callable[[], np.ndarray]) -> None:
        """Keep this frame if it is one of those wanted."""
        if episode < self._episodes and step % self._every == 0:
            self.frames.setdefault(episode, []).append(render())
