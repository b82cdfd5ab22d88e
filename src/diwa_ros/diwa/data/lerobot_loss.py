# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a codec has taken from images, by decoding them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diwa.data.dataset import Dataset
from diwa.data.lerobot_layout import VIDEO_PATH, ImageLoss, feature_names
from diwa.data.lerobot_video import read_frames

FRAMES_AT_ONCE = 500


def measure_loss(
    dataset: Dataset, root: Path, rows: Sequence[Mapping[str, Any]], key: str
) -> ImageLoss:
    """Compare the videos of one camera with the dataset, frame by frame.

    Args:
        dataset: what was exported.
        root: folder of the export.
        rows: of the episodes, as in `meta/episodes`.
        key: of the camera.
    """
    name, rate = feature_names(dataset.contract)[key], dataset.contract.rate_hz
    ratios: list[np.ndarray] = []
    for row in rows:
        place = {part: row[f"videos/{name}/{part}"] for part in ("chunk_index", "file_index")}
        path = root / VIDEO_PATH.format(video_key=name, **place)
        first = round(row[f"videos/{name}/from_timestamp"] * rate)
        images = dataset.array(row["diwa/id"], key)
        for start in range(0, len(images), FRAMES_AT_ONCE):
            part = images[start : start + FRAMES_AT_ONCE]
            ratios.append(peak_ratios(part, read_frames(path, rate, first + start, len(part))))
    ratio = np.concatenate(ratios)
    finite = ratio[np.isfinite(ratio)]
    if not finite.size:
        return ImageLoss(mean_psnr_db=None, worst_psnr_db=None)
    return ImageLoss(mean_psnr_db=float(finite.mean()), worst_psnr_db=float(finite.min()))


def peak_ratios(images: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of every frame (T,) [dB]; infinite where nothing changed."""
    squares = np.array(
        [np.square(a.astype(np.float32) - b).mean() for a, b in zip(images, decoded, strict=True)]
    )
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255.0**2 / squares))
