# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Episodes as videos for people; needs PyAV, unlike film strips."""

from __future__ import annotations

from pathlib import Path

from diwa.data.film import EpisodeFilm, film_frames
from diwa.data.lerobot_video import VideoWriter, film_encoding
from diwa.files import atomic_path


def write_video(film: EpisodeFilm, path: Path) -> None:
    """Write the episode as an MP4 file, in real time."""
    frames = film_frames(film)
    first = next(frames).copy()
    with atomic_path(path) as temporary:
        size = (first.shape[0], first.shape[1])
        writer = VideoWriter(temporary, film.rate_hz, size, film_encoding())
        writer.write(first[None])
        for frame in frames:
            writer.write(frame[None])
        writer.close()
