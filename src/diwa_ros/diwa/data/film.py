# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""An episode at a glance: frames of every camera above its actions, gripper and labels.

A film strip has its frames evenly in time, and the curves below run on the same axis: what stands
below a frame happened then. The frames of a video have the curves with a cursor below them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from diwa.data.film_plots import (
    INK,
    LEFT,
    MUTED,
    PAPER,
    RIGHT,
    Axis,
    Curves,
    draw_curves,
    draw_states,
    draw_time,
    draw_words,
)
from diwa.files import atomic_path

WIDTH = 1200
TITLE = 58  # height of the labels [px]
GAP = 4
VIDEO_IMAGE = 320  # height of a camera's image in a video [px]
VIDEO_WIDTH = 720
MOST_COLUMNS = 40
OPEN_M = 0.08  # the least that the axis of the gripper's width spans: a Panda's


@dataclass(frozen=True, slots=True)
class EpisodeFilm:
    """What is shown of an episode.

    Attributes:
        title: the first line.
        labels: the second line.
        rate_hz: frames per second.
        images: (T, h, w, 3) uint8 RGB, by camera.
        action: (T-1, 7) float32 in [-1, 1].
        position: (T, 3) float32, TCP [m]; None where proprioception does not hold it.
        width: (T,) float32, of the gripper [m]; likewise.
    """

    title: str
    labels: str
    rate_hz: float
    images: dict[str, np.ndarray]
    action: np.ndarray
    position: np.ndarray | None
    width: np.ndarray | None

    @property
    def length(self) -> int:
        """Frames."""
        return len(self.action) + 1


def film_strip(film: EpisodeFilm, columns: int) -> np.ndarray:
    """The whole episode as one picture (h, WIDTH, 3) uint8, RGB.

    Args:
        film: the episode.
        columns: frames to show of every camera.
    """
    columns = max(2, min(columns, film.length, MOST_COLUMNS))
    picks = np.round(np.linspace(0, film.length - 1, columns)).astype(int)
    cell = (WIDTH - LEFT - RIGHT - (columns - 1) * GAP) // columns
    step = cell + GAP
    # The first frame is the start of the axis, the last one its end.
    start = LEFT + cell // 2
    axis = Axis(start, start + (columns - 1) * step, film.length - 1, film.rate_hz)
    rows = [_title(film, WIDTH)]
    for name, images in film.images.items():
        rows.append(_strip_row(name, [images[pick] for pick in picks], cell, step))
    rows += _curve_rows(film, WIDTH, axis)
    return np.concatenate(rows)


def write_strip(film: EpisodeFilm, path: Path, columns: int) -> None:
    """Write the film strip as a PNG file."""
    picture = cv2.cvtColor(film_strip(film, columns), cv2.COLOR_RGB2BGR)
    sound, data = cv2.imencode(".png", picture)
    assert sound
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def film_frames(film: EpisodeFilm) -> Iterator[np.ndarray]:
    """The episode frame by frame, each (h, w, 3) uint8 RGB with even sides."""
    cameras = list(film.images.items())
    widths = [max(1, round(VIDEO_IMAGE * i.shape[2] / i.shape[1])) for _, i in cameras]
    width = max(VIDEO_WIDTH, sum(widths) + GAP * max(0, len(widths) - 1))
    width += width % 2
    axis = Axis(LEFT, width - RIGHT, film.length - 1, film.rate_hz)
    curves = np.concatenate(_curve_rows(film, width, axis))
    title = _title(film, width)
    view = np.full((VIDEO_IMAGE if cameras else 0, width, 3), PAPER, np.uint8)
    height = len(title) + len(view) + len(curves)
    page = np.full((height + height % 2, width, 3), PAPER, np.uint8)
    page[: len(title)] = title
    for index in range(film.length):
        left = (width - sum(widths) - GAP * max(0, len(widths) - 1)) // 2
        for (_, images), wide in zip(cameras, widths, strict=True):
            view[:, left : left + wide] = _enlarged(images[index], wide, VIDEO_IMAGE)
            left += wide + GAP
        shown = curves.copy()
        cv2.line(shown, (axis.at(index), 0), (axis.at(index), len(shown)), MUTED, 1)
        page[len(title) : len(title) + len(view)] = view
        page[len(title) + len(view) : height] = shown
        yield page


def _title(film: EpisodeFilm, width: int) -> np.ndarray:
    canvas = np.full((TITLE, width, 3), PAPER, np.uint8)
    draw_words(canvas, film.title, (LEFT, 24), INK, 0.62)
    draw_words(canvas, film.labels, (LEFT, 46), MUTED, 0.45)
    return canvas


def _strip_row(name: str, images: Sequence[np.ndarray], cell: int, step: int) -> np.ndarray:
    height = max(1, round(cell * images[0].shape[0] / images[0].shape[1]))
    canvas = np.full((height + 22, WIDTH, 3), PAPER, np.uint8)
    draw_words(canvas, name, (LEFT, 14), MUTED, 0.42)
    for index, image in enumerate(images):
        left = LEFT + index * step
        canvas[20 : 20 + height, left : left + cell] = _enlarged(image, cell, height)
    return canvas


def _enlarged(image: np.ndarray, width: int, height: int) -> np.ndarray:
    small = image.shape[0] > height
    kind = cv2.INTER_AREA if small else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=kind), np.uint8)


def _curve_rows(film: EpisodeFilm, width: int, axis: Axis) -> list[np.ndarray]:
    """Actions, gripper, and what proprioception tells, with the time below."""
    steps = np.arange(film.length - 1)
    directions = ("x", "y", "z")
    turns = ("roll", "pitch", "yaw")
    rows = [
        draw_curves(
            Curves("action: move", directions, film.action[:, :3], (-1.0, 1.0)), width, axis, steps
        ),
        draw_curves(
            Curves("action: turn", turns, film.action[:, 3:6], (-1.0, 1.0)), width, axis, steps
        ),
        draw_states("gripper", ("closed", "open"), film.action[:, 6] >= 0, width, axis),
    ]
    frames = np.arange(film.length)
    if film.width is not None:
        limits = (0.0, max(OPEN_M, float(film.width.max())))
        curves = Curves("gripper width [m]", ("width",), film.width[:, None], limits)
        rows.append(draw_curves(curves, width, axis, frames))
    if film.position is not None:
        curves = Curves("position [m]", directions, film.position, None)
        rows.append(draw_curves(curves, width, axis, frames))
    return [*rows, draw_time(width, axis)]
