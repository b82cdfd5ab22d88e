# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays, by attributes alone: live messages and messages from a bag look the same.

Nothing of ROS is imported. What arrives is checked against the contract's stream; a mismatch is a
`ConfigError`, because it means that the contract describes another robot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
        image: (height, width, 3) uint8, RGB.

    Raises:
        ConfigError: the message does not fit the contract.
    """
    return _DECODERS[stream.kind](message, stream)


def decode_action(message: Any) -> np.ndarray:
    """Action really executed, from an ExecutedAction: (7,) float32 in [-1, 1]."""
    return np.array(message.action, dtype=np.float32)


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
    return np.array([message.position[where[name]] for name in stream.names], dtype=np.float64)


def _decode_scene(message: Any, stream: Stream) -> np.ndarray:
    state = np.array(message.state, dtype=np.float32)
    if state.shape != (stream.size,):
        raise ConfigError(
            f"topic {stream.topic}: wrong size", got=state.shape, expected=f"({stream.size},)"
        )
    return state


def _decode_image(message: Any, stream: Stream) -> np.ndarray:
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


def _buffer(data: Any) -> Any:
    """`data` of an image as something with a buffer; a plain list is the slow case."""
    return bytes(data) if isinstance(data, list | tuple) else data


_DECODERS: dict[str, Callable[[Any, Stream], np.ndarray]] = {
    "pose": _decode_pose,
    "joints": _decode_joints,
    "scene": _decode_scene,
    "image": _decode_image,
}
