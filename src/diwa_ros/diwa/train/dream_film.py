# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Dreams beside reality as pictures: a film strip and a video per camera."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from diwa.files import atomic_path
from diwa.train.strips import film_strip
from diwa.train.windows import Batch
from diwa.world_model.model import WorldModel
from diwa.world_model.open_loop import open_loop

CONTEXT = 2  # observed frames
STEPS = 80  # dreamed frames
COLUMNS = 12  # of a strip
ENLARGED = 3  # pixels of the video per pixel of an image
GAP = 4  # between images [px]


def film_dreams(
    world_model: WorldModel, batch: Batch, rate_hz: float, folder: Path, generator: torch.Generator
) -> list[Path]:
    """Dream the windows of `batch` from their first frames, and draw them beside what happened.

    Args:
        world_model: with at least one image among what it decodes; without, nothing is drawn.
        batch: windows (B, T) on the model's device, a few.
        rate_hz: of the videos.
        folder: gets `dream-<window>-<camera>.png` and `.mp4`.
        generator: source of randomness.

    Returns:
        the strips.
    """
    count = len(batch.is_first)
    result = open_loop(
        world_model,
        batch.observation,
        batch.previous_action,
        batch.is_first,
        CONTEXT,
        generator,
        show=count,
    )
    strips = []
    for key, dreamed in result.shown.items():
        for window in range(count):
            real = batch.observation[key][window].cpu().numpy()
            dream = np.concatenate([real[:CONTEXT], dreamed[window].cpu().numpy()])
            path = folder / f"dream-{window}-{key}.png"
            _strip(real, dream, path, key)
            strips.append(path)
            _video(real, dream, rate_hz, path.with_suffix(".mp4"))
    return strips


def _strip(real: np.ndarray, dream: np.ndarray, path: Path, key: str) -> None:
    """Reality above the dream, a few frames of each (T, h, w, 3) uint8."""
    picks = np.unique(np.linspace(0, len(real) - 1, min(COLUMNS, len(real))).round().astype(int))
    caption = (
        f"{key.replace('_', ' ')}: reality above, dream below; {CONTEXT} frames observed, "
        f"then {len(real) - CONTEXT} dreamed; frames {', '.join(map(str, picks))}"
    )
    film_strip([*real[picks], *dream[picks]], path, len(picks), caption)


def _video(real: np.ndarray, dream: np.ndarray, rate_hz: float, path: Path) -> None:
    """Both side by side; by PyAV as browsers like it, without PyAV by OpenCV, larger."""
    frames = np.stack(list(_pairs(real, dream)))
    height, width = frames.shape[1:3]
    with atomic_path(path) as temporary:
        if importlib.util.find_spec("av"):
            from diwa.data.lerobot_video import VideoWriter, film_encoding

            film = VideoWriter(temporary, rate_hz, (height, width), film_encoding())
            film.write(frames)
            film.close()
            return
        named = temporary.with_suffix(".mp4")  # OpenCV goes by the name
        writer = cv2.VideoWriter(
            str(named), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz, (width, height)
        )
        for frame in frames:
            writer.write(frame[..., ::-1])
        writer.release()
        named.replace(temporary)


def _pairs(real: np.ndarray, dream: np.ndarray) -> Iterator[np.ndarray]:
    """Each frame of reality and dream side by side, enlarged; even sides."""
    for left, right in zip(real, dream, strict=True):
        gap = np.full((left.shape[0], GAP, 3), 255, dtype=np.uint8)
        both = np.concatenate([left, gap, right], axis=1)
        size = tuple(ENLARGED * side + ENLARGED * side % 2 for side in both.shape[1::-1])
        yield cv2.resize(both, size, interpolation=cv2.INTER_NEAREST)
