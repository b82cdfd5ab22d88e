# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The only place that sees both a message and an array.

Messages that go out at the control rate are filled in place, so that nothing is allocated per
step; what comes in is decoded by `diwa.data.decode`, the same code that reads bags.
"""

from __future__ import annotations

import importlib
import json
import struct
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Time
from diwa_msgs.msg import (
    ActionChunk,
    ExecutedAction,
    SceneState,
    TrainingStatus,
)
from geometry_msgs.msg import PoseStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Header

from diwa.data.contract import ActionSpec
from diwa.errors import ConfigError

if TYPE_CHECKING:
    from diwa_ros.table import Executed

SECOND_NS = 1_000_000_000


def message_type(name: str) -> type:
    """Class of a message type such as `sensor_msgs/msg/Image`."""
    try:
        package, kind, message = name.split("/")
        return getattr(importlib.import_module(f"{package}.{kind}"), message)
    except (ValueError, ImportError, AttributeError) as error:
        raise ConfigError(
            f"message type {name!r}",
            got=error,
            expected="package/msg/Name of an installed package",
            hint="correct the contract, or install the package that defines it",
        ) from error


def time_message(stamp_ns: int) -> Time:
    """Nanoseconds as a time message."""
    seconds, nanoseconds = divmod(stamp_ns, SECOND_NS)
    return Time(sec=seconds, nanosec=nanoseconds)


def time_ns(message: Time) -> int:
    """Time message in nanoseconds."""
    return int(message.sec) * SECOND_NS + int(message.nanosec)


def set_stamp(stamp: Time, stamp_ns: int) -> None:
    """Set a time message in place."""
    stamp.sec, stamp.nanosec = divmod(stamp_ns, SECOND_NS)


def serialized_stamp_ns(data: bytes) -> int:
    """Header stamp [ns] of a serialised message whose first field is a header."""
    sec, nanosec = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return sec * SECOND_NS + nanosec


def fill_clock(message: Clock, stamp_ns: int) -> None:
    """Set the time of a clock message."""
    set_stamp(message.clock, stamp_ns)


def fill_pose(message: PoseStamped, stamp_ns: int, pose: np.ndarray) -> None:
    """Set stamp and pose, (7,) float: position [m], quaternion xyzw."""
    set_stamp(message.header.stamp, stamp_ns)
    position, orientation = message.pose.position, message.pose.orientation
    position.x, position.y, position.z, *quaternion = pose.tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = quaternion


def fill_joints(message: JointState, stamp_ns: int, positions: np.ndarray) -> None:
    """Set stamp and positions, (J,) float [rad or m]; the names stay."""
    set_stamp(message.header.stamp, stamp_ns)
    message.position = array("d", np.asarray(positions, dtype=np.float64).tobytes())


def fill_scene(message: SceneState, stamp_ns: int, epoch: int, state: np.ndarray) -> None:
    """Set stamp, epoch and state, (24,) float32."""
    set_stamp(message.header.stamp, stamp_ns)
    message.epoch = epoch
    message.state = np.asarray(state, dtype=np.float32)


def fill_image(message: Image, stamp_ns: int, image: np.ndarray) -> None:
    """Set stamp and pixels, (h, w, 3) uint8 in the message's encoding."""
    set_stamp(message.header.stamp, stamp_ns)
    message.height, message.width, channels = image.shape
    message.step = message.width * channels
    message.data = array("B", np.ascontiguousarray(image).tobytes())


def fill_executed(message: ExecutedAction, executed: Executed, epoch: int) -> None:
    """Set everything of an executed action; a request that is no action is reported as zeros."""
    safe = executed.safe
    set_stamp(message.header.stamp, executed.stamp_ns)
    message.epoch = epoch
    request = np.asarray(executed.requested, dtype=np.float32)
    message.requested = request if request.shape == (7,) else np.zeros(7, dtype=np.float32)
    message.action = np.asarray(safe.action, dtype=np.float32)
    message.clipped = bool(safe.clipped)
    message.workspace_limited = bool(safe.workspace_limited)
    message.leashed = bool(safe.leashed)
    message.rejected = bool(safe.rejected)
    message.held = executed.held


def make_joints(names: Sequence[str]) -> JointState:
    """An empty joint state for `fill_joints`."""
    return JointState(name=list(names))


def make_pose(frame_id: str) -> PoseStamped:
    """An empty pose for `fill_pose`."""
    return PoseStamped(header=Header(frame_id=frame_id))


def make_image(frame_id: str, encoding: str) -> Image:
    """An empty image for `fill_image`."""
    return Image(header=Header(frame_id=frame_id), encoding=encoding)


def make_scene() -> SceneState:
    """An empty scene state for `fill_scene`."""
    return SceneState()


def make_chunk(
    chunk: np.ndarray, stamp_ns: int, epoch: int, sequence: int, period_s: float
) -> ActionChunk:
    """A chunk message.

    Args:
        chunk: (Ta, A) float32 in [-1, 1]; no rows: hold.
        stamp_ns: of the observation that it was computed from.
        epoch: of that observation.
        sequence: counts up by one per chunk.
        period_s: time between two actions [s].
    """
    message = ActionChunk(epoch=epoch, sequence=sequence, step_period=period_s)
    set_stamp(message.header.stamp, stamp_ns)
    message.steps, message.action_size = chunk.shape
    message.data = array("f", np.asarray(chunk, dtype=np.float32).tobytes())
    return message


def make_hold(stamp_ns: int, epoch: int, sequence: int) -> ActionChunk:
    """A chunk of no actions: what is left of the one before is not executed."""
    return make_chunk(np.zeros((0, 7), dtype=np.float32), stamp_ns, epoch, sequence, 0.0)


def decode_chunk(message: ActionChunk, spec: ActionSpec) -> np.ndarray:
    """Actions of a chunk, (Ta, A) float32, not checked for range or finiteness.

    Raises:
        ConfigError: the dimensions do not fit the data or the contract.
    """
    data = np.array(message.data, dtype=np.float32)
    if message.action_size != spec.size or data.size != message.steps * message.action_size:
        raise ConfigError(
            "action chunk with wrong dimensions",
            got=f"{message.steps} x {message.action_size} with {data.size} numbers",
            expected=f"steps x {spec.size}",
            hint="the publisher and this node use different contracts",
        )
    return data.reshape(message.steps, message.action_size)


def fill_training_status(status: TrainingStatus, progress: Mapping[str, Any]) -> None:
    """Set a status from the latest progress lines; see `diwa.train.progress.JsonProgress`."""
    remaining = progress.get("remaining_s")
    status.stage = str(progress.get("stage", ""))
    status.stage_index = int(progress.get("stage_index", 0))
    status.stages = int(progress.get("stages", 0))
    status.progress = float(progress.get("progress", 0.0))
    status.remaining = -1.0 if remaining is None else float(remaining)
    status.metrics_json = json.dumps(progress.get("metrics", {}))


def float_list(values: Any) -> np.ndarray | None:
    """A float64[] field as an array (n,), or None where it is empty."""
    return np.array(values, dtype=np.float64) if len(values) else None
