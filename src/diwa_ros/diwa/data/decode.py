# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays, by attributes alone: live messages and messages from a bag look the same.

Nothing of ROS is imported. What arrives is checked against the contract's stream; a mismatch is a
`ConfigError`, because it means that the contract describes another robot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from diwa.data.contract import Stream
from diwa.errors import ConfigError

# Channels of a pixel as published, and where red, green and blue are among them.
ENCODINGS: dict[str, tuple[int, list[int]]] = {
    "rgb8": (3, [0, 1, 2]),
    "bgr8": (3, [2, 1, 0]),
    "rgba8": (4, [0, 1, 2]),
    "bgra8": (4, [2, 1, 0]),
    "mono8": (1, [0, 0, 0]),
}

LEAST_ENTRY = 1e-3  # of a quaternion: its largest entry is 0.5 or more


def stamp_ns(message: Any) -> int:
    """Header stamp of `message` in nanoseconds."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def epoch_of(message: Any) -> int | None:
    """Episode epoch of `message`, or None where its type carries none."""
    epoch = getattr(message, "epoch", None)
    return None if epoch is None else int(epoch)


def decode(message: Any, stream: Stream) -> np.ndarray:
    """Turn a message of `stream` into an array.

    Returns:
        pose: (7,) float64, position [m] and quaternion xyzw.
        joints: (len(stream.names),) float64, positions [rad or m] in the contract's order.
        scene: (stream.size,) float32.
        image: (height, width, 3) uint8, RGB; from an Image or a CompressedImage.

    Raises:
        ConfigError: the message does not fit the contract.
    """
    return _DECODERS[stream.kind](message, stream)


def decode_action(message: Any) -> np.ndarray:
    """Action really executed, from an ExecutedAction: (7,) float32 in [-1, 1]."""
    action = np.array(message.action, dtype=np.float32)
    if action.shape != (7,) or not np.isfinite(action).all():
        raise ConfigError(
            "an executed action that cannot be used", got=action, expected="7 numbers"
        )
    return action


def _decode_pose(message: Any, stream: Stream) -> np.ndarray:
    if stream.frame_id and message.header.frame_id != stream.frame_id:
        raise ConfigError(
            f"topic {stream.topic}: pose in another frame",
            got=message.header.frame_id,
            expected=stream.frame_id,
            hint="publish in the contract's frame, or correct frame_id in the contract",
        )
    position, rotation = message.pose.position, message.pose.orientation
    values = (position.x, position.y, position.z, rotation.x, rotation.y, rotation.z, rotation.w)
    if not max(map(abs, values[3:])) > LEAST_ENTRY:
        raise ConfigError(
            f"topic {stream.topic}: a pose without orientation",
            got=values[3:],
            expected="a quaternion of length 1",
            hint="correct the node that publishes it",
        )
    return np.array(values, dtype=np.float64)


def _decode_joints(message: Any, stream: Stream) -> np.ndarray:
    where = {name: index for index, name in enumerate(message.name)}
    missing = [name for name in stream.names if name not in where]
    if missing:
        raise ConfigError(
            f"topic {stream.topic}: joints missing",
            got=", ".join(message.name),
            expected=", ".join(stream.names),
            hint="correct the joint names in the contract",
        )
    if len(message.position) != len(message.name):
        raise ConfigError(
            f"topic {stream.topic}: damaged joint states",
            got=f"{len(message.name)} names, {len(message.position)} positions",
            expected="a position for every name",
        )
    return np.array([message.position[where[name]] for name in stream.names], dtype=np.float64)


def _decode_scene(message: Any, stream: Stream) -> np.ndarray:
    state = np.array(message.state, dtype=np.float32)
    if state.shape != (stream.size,):
        raise ConfigError(
            f"topic {stream.topic}: wrong size", got=state.shape, expected=f"({stream.size},)"
        )
    return state


def _decode_image(message: Any, stream: Stream) -> np.ndarray:
    if hasattr(message, "format"):
        return _decode_compressed(message, stream)
    got = (message.encoding, message.height, message.width)
    expected = (stream.encoding, stream.height, stream.width)
    if got != expected or message.encoding not in ENCODINGS:
        raise ConfigError(
            f"topic {stream.topic}: other images than in the contract",
            got="{} {}x{}".format(*got),
            expected="{} {}x{} (encodings: {})".format(*expected, ", ".join(ENCODINGS)),
            hint="set the camera to that, or correct the contract",
        )
    channels, order = ENCODINGS[message.encoding]
    flat = np.frombuffer(_buffer(message.data), dtype=np.uint8)
    if message.step < message.width * channels or flat.size < message.height * message.step:
        raise ConfigError(
            f"topic {stream.topic}: damaged image",
            got=f"{flat.size} bytes, {message.step} bytes a row",
            expected=f"{message.height} rows of at least {message.width * channels} bytes",
        )
    rows = flat[: message.height * message.step].reshape(message.height, message.step)
    pixels = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    return pixels if order == [0, 1, 2] and channels == 3 else pixels[..., order]


def _decode_compressed(message: Any, stream: Stream) -> np.ndarray:
    """A CompressedImage; its data know their size and channels, which OpenCV gives as BGR."""
    expected = f"JPEG or PNG of {stream.height}x{stream.width}"
    data = np.frombuffer(_buffer(message.data), dtype=np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if pixels is None or "compressedDepth" in message.format:
        raise ConfigError(
            f"topic {stream.topic}: a compressed image that cannot be read",
            got=f"{data.size} bytes of format {message.format!r}",
            expected=expected,
            hint="if only a few are so, leave this bag out; if all are, record the raw topic",
        )
    if pixels.shape[:2] != (stream.height, stream.width):
        raise ConfigError(
            f"topic {stream.topic}: other images than in the contract",
            got="compressed, {}x{}".format(*pixels.shape[:2]),
            expected=expected,
            hint="set the camera to that, or correct the contract",
        )
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _buffer(data: Any) -> Any:
    """`data` of an image as something with a buffer; a plain list is the slow case."""
    return bytes(data) if isinstance(data, list | tuple) else data


_DECODERS: dict[str, Callable[[Any, Stream], np.ndarray]] = {
    "pose": _decode_pose,
    "joints": _decode_joints,
    "scene": _decode_scene,
    "image": _decode_image,
}
