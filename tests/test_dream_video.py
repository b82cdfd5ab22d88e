# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The video of a dream beside reality, with PyAV and without."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from diwa.train import dream_film


def _with_av(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _with_opencv(path: Path) -> list[np.ndarray]:
    film = cv2.VideoCapture(str(path))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(30.0, abs=0.1)
    frames = []
    while (read := film.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames


@pytest.mark.parametrize("with_av", [True, False])
def test_video_shows_reality_left_and_the_dream_right(
    with_av: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if with_av:
        pytest.importorskip("av")
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    real = np.zeros((9, 16, 16, 3), dtype=np.uint8)
    real[..., 0] = 200  # red
    dream = np.zeros_like(real)
    dream[..., 2] = 200  # blue
    dream_film._video(real, dream, 30.0, tmp_path / "dream.mp4")
    frames = _with_av(tmp_path / "dream.mp4") if with_av else _with_opencv(tmp_path / "dream.mp4")
    assert len(frames) == 9
    left, right = frames[4][24, 12], frames[4][24, -12]
    assert left[0] > 150 > left[2] and right[2] > 150 > right[0]
    assert list(tmp_path.iterdir()) == [tmp_path / "dream.mp4"], "nothing is left behind"
