# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Films of dreams: which frames they show, and that players can read them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from diwa.train.dream_film import COLUMNS, CONTEXT, ENLARGED, GAP, film_dreams
from diwa.train.windows import Batch
from diwa.world_model.config import InputConfig
from diwa.world_model.model import WorldModel
from learning_fixtures import random_observation, tiny_world_model

INPUTS = (InputConfig(key="rgb_static", encoder="cnn"), InputConfig(key="proprio"))
COUNT, SIDE, RATE_HZ = 2, 64, 12.5


def _generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _model() -> WorldModel:
    return tiny_world_model(inputs=INPUTS, cnn_depth=2)


def _windows(length: int) -> Batch:
    size = (COUNT, length, SIDE, SIDE, 3)
    image = torch.randint(0, 256, size, dtype=torch.uint8, generator=_generator(4))
    first = torch.zeros(COUNT, length, dtype=torch.bool)
    first[:, 0] = True
    action = torch.randn(COUNT, length, 7, generator=_generator(5)).clamp(-1, 1)
    observation = {"rgb_static": image, **random_observation(COUNT, length)}
    return Batch(observation, action, first, np.arange(COUNT), np.zeros(COUNT, dtype=int))


@torch.no_grad()
def _dream(model: WorldModel, batch: Batch) -> Tensor:
    """Each window's frames: `CONTEXT` of them as they were, all others dreamed step by step."""
    draws = _generator()
    seen = model.observe(batch.observation, batch.previous_action, batch.is_first, generator=draws)
    state = seen.state.at(CONTEXT - 1)
    frames = list(batch.observation["rgb_static"][:, :CONTEXT].unbind(1))
    for step in range(CONTEXT, batch.is_first.shape[1]):
        state = model.rssm.imagine_step(state, batch.previous_action[:, step], draws)
        image = model.decode(state.feat)["rgb_static"]
        frames.append(image.clamp(0, 255).round().to(torch.uint8))
    return torch.stack(frames, dim=1)


def _tiles(path: Path, columns: int) -> np.ndarray:
    """The images of a strip, (2, columns, h, w, 3) RGB."""
    strip = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    step = SIDE + GAP
    assert strip.shape == (2 * step - GAP, columns * step - GAP, 4)
    picture = cv2.cvtColor(strip, cv2.COLOR_BGRA2RGBA)[..., :3]
    rows = [
        [picture[r * step : r * step + SIDE, c * step : c * step + SIDE] for c in range(columns)]
        for r in range(2)
    ]
    return np.array(rows)


@pytest.mark.parametrize("length", [7, 2 * COLUMNS - 1])
def test_strips_show_reality_above_what_was_observed_and_then_dreamed(
    tmp_path: Path, length: int
) -> None:
    model, batch = _model(), _windows(length)
    strips = film_dreams(model, batch, RATE_HZ, tmp_path, _generator())
    assert [path.name for path in strips] == [f"dream-{n}-rgb_static.png" for n in range(COUNT)]
    # Every frame where there is room, else every second: the first and the last are among them.
    shown = list(range(0, length, 1 if length <= COLUMNS else 2))
    dreamed, real = _dream(model, batch), batch.observation["rgb_static"]
    for window, path in enumerate(strips):
        tiles = _tiles(path, len(shown))
        np.testing.assert_array_equal(tiles[0], real[window, shown].numpy())
        np.testing.assert_array_equal(tiles[1], dreamed[window, shown].numpy())
        caption = path.with_suffix(".txt").read_text()
        assert f"{CONTEXT} frames observed, then {length - CONTEXT} dreamed" in caption
        assert caption.strip().endswith(", ".join(map(str, shown)))


def _film(path: Path, writer: str) -> tuple[float, list[np.ndarray]]:
    """Rate [Hz] and frames (h, w, 3) RGB of a video, read by the library that wrote it."""
    if writer == "av":
        import av

        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert rate is not None
        return float(rate), frames
    film, frames = cv2.VideoCapture(str(path)), []
    while (read := film.read())[0]:
        frames.append(read[1][..., ::-1])
    return film.get(cv2.CAP_PROP_FPS), frames


@pytest.mark.parametrize("writer", ["av", "cv2"])
def test_videos_hold_all_frames_side_by_side_at_the_control_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    if writer == "av":
        pytest.importorskip("av", reason="writes these videos")
    else:
        found = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == "av" else found(name)
        )
    model, batch = _model(), _windows(9)
    smooth = torch.arange(9, dtype=torch.uint8)[None, :, None, None, None] * 25
    batch.observation["rgb_static"][:] = smooth  # each frame has its own brightness
    strips = film_dreams(model, batch, RATE_HZ, tmp_path, _generator())
    dreamed = _dream(model, batch)
    for window, strip in enumerate(strips):
        rate, frames = _film(strip.with_suffix(".mp4"), writer)
        assert rate == pytest.approx(RATE_HZ, rel=1e-3)
        assert len(frames) == CONTEXT + 7
        assert frames[0].shape == (ENLARGED * SIDE, ENLARGED * (2 * SIDE + GAP), 3)
        edge = ENLARGED * SIDE
        for index, frame in enumerate(frames):
            assert frame[:, :edge].mean() == pytest.approx(25 * index, abs=6)
            right = dreamed[window, index].float().mean().item()
            assert frame[:, -edge:].mean() == pytest.approx(right, abs=6)


def test_models_without_images_leave_no_films(tmp_path: Path) -> None:
    assert film_dreams(tiny_world_model(), _windows(5), RATE_HZ, tmp_path, _generator()) == []
    assert not list(tmp_path.iterdir())
