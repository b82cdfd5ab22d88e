# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Frames to MP4 and back, exactly one per control period, through PyAV.

Frames of the lossy codecs stand by themselves, or every second one does, so that any is found
quickly, and so that none is a copy of the one before: with "av1" at usual settings every second
frame is, where the arm moves slowly. What a codec loses is measured by whoever writes, not
promised: small images lose most to the halved colour resolution of "av1".
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from diwa.data.lerobot_layout import Codec
from diwa.errors import ConfigError

MOST_DENOMINATOR = 1001  # of a rate: 30000/1001 is one


@dataclass(frozen=True, slots=True)
class Encoding:
    """How frames are encoded."""

    encoder: str
    pixels: str
    name: str  # as LeRobot calls the codec
    options: dict[str, str]
    even: bool = False  # whether both sides must be even


_VP9 = {"cpu-used": "6", "deadline": "realtime"}
ENCODINGS: dict[Codec, Encoding] = {
    "vp9": Encoding("libvpx-vp9", "yuv444p", "vp9", {**_VP9, "crf": "12", "b": "0", "g": "2"}),
    "av1": Encoding(
        "libsvtav1", "yuv420p", "av1", {"crf": "20", "g": "1", "preset": "8"}, even=True
    ),
    "lossless": Encoding("libvpx-vp9", "gbrp", "vp9", {**_VP9, "lossless": "1", "g": "15"}),
}
# For people: small, quick to write, and any player knows its colours; the first that there is.
FILMS = (
    Encoding("libsvtav1", "yuv420p", "av1", {"crf": "32", "g": "60", "preset": "10"}, even=True),
    Encoding("libvpx-vp9", "yuv420p", "vp9", {**_VP9, "crf": "30", "b": "0"}, even=True),
)


def film_encoding() -> Encoding:
    """How to encode a video for people with this installation of PyAV."""
    return next((film for film in FILMS if film.encoder in av.codecs_available), FILMS[-1])


def rate_fraction(rate_hz: float) -> Fraction:
    """A control rate as videos keep it."""
    return Fraction(rate_hz).limit_denominator(MOST_DENOMINATOR)


def video_info(codec: Codec, rate_hz: float) -> dict[str, Any]:
    """Facts of a video for `info.json`."""
    encoding = ENCODINGS[codec]
    rate = int(rate_hz) if float(rate_hz).is_integer() else rate_hz
    pixels = encoding.pixels
    return {"video.codec": encoding.name, "video.pix_fmt": pixels, "video.fps": rate}


class VideoWriter:
    """One MP4 file that is being written.

    Args:
        path: the file.
        rate_hz: frames per second.
        size: height and width [px].
        codec: one of `ENCODINGS`, or another encoding.
    """

    def __init__(
        self, path: Path, rate_hz: float, size: tuple[int, int], codec: Codec | Encoding
    ) -> None:
        encoding = codec if isinstance(codec, Encoding) else ENCODINGS[codec]
        if encoding.encoder not in av.codecs_available:
            raise ConfigError(
                f"PyAV {av.__version__} writes no {encoding.name}: no encoder {encoding.encoder}",
                hint="pip install --upgrade av, or use another codec",
            )
        if encoding.even and any(side % 2 for side in size):
            raise ConfigError(
                f"images of {size[0]}x{size[1]}: codec {encoding.name} needs even sides",
                hint="use codec vp9 or lossless",
            )
        os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder tells its settings otherwise
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.frames = 0
        self.bytes = 0  # so far; encoders lag behind
        self._rate = rate_fraction(rate_hz)
        self._container = av.open(str(path), "w", format="mp4")
        stream = self._container.add_stream(
            encoding.encoder, rate=self._rate, options=dict(encoding.options)
        )
        assert isinstance(stream, av.VideoStream)
        self._stream = stream
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = encoding.pixels

    def write(self, images: np.ndarray) -> None:
        """Append frames (T, h, w, 3) uint8, RGB."""
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = self.frames, 1 / self._rate
            self._mux(frame)
            self.frames += 1

    def close(self) -> None:
        """Finish the file."""
        self._mux(None)
        self._container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self.bytes += packet.size
            self._container.mux(packet)


def read_frames(path: Path, rate_hz: float, first: int, count: int) -> np.ndarray:
    """Frames `first` to `first + count - 1` of a video: (count, h, w, 3) uint8, RGB.

    Raises:
        ConfigError: the file cannot be decoded, or one of these frames is not in it.
    """
    images: list[np.ndarray] = []
    try:
        for index, image in _decode_from(path, rate_fraction(rate_hz), first):
            if index < first:
                continue
            if index != first + len(images):
                break
            images.append(image)
            if len(images) == count:
                return np.stack(images)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="copy the data set again") from error
    except (av.FFmpegError, IndexError) as error:
        raise ConfigError(f"{path}: cannot be decoded", got=error, hint="copy it again") from error
    raise ConfigError(
        f"{path}: frames missing",
        got=f"{len(images)} frames from frame {first} on",
        expected=f"{count}, one every {float(1 / rate_fraction(rate_hz)):.6f} s",
        hint="copy it again, or export it again",
    )


def _decode_from(path: Path, rate: Fraction, first: int) -> Iterator[tuple[int, np.ndarray]]:
    """Frames with their number, from the last independent one before `first` on."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if first > 0:
            # To the middle of the period before: times in files are rounded.
            seconds = (first - Fraction(1, 2)) / rate
            start = stream.start_time or 0
            container.seek(start + int(seconds / stream.time_base), stream=stream, backward=True)
        for frame in container.decode(stream):
            moment = (frame.pts - (stream.start_time or 0)) * stream.time_base
            yield round(moment * rate), frame.to_ndarray(format="rgb24")
