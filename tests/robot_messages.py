# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of a made-up robot in lockstep, for tests of what reads them.

`Factory` makes messages: plain objects, those of the `rosbags` package, or real ones of rclpy.
"""

import array
import importlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from diwa.data.bags import contract_topics
from diwa.data.contract import Contract
from diwa.data.message_types import typestore_for

Factory = Callable[..., Any]


def plain_factory(type_name: str, **fields: Any) -> Any:
    return SimpleNamespace(**fields)


def rosbags_factory(contract: Contract) -> Factory:
    types = typestore_for(set(contract_topics(contract).values()))

    def make(type_name: str, **fields: Any) -> Any:
        return types.types[type_name](**fields)

    return make


def ros_factory(type_name: str, **fields: Any) -> Any:
    package, _, name = type_name.partition("/msg/")
    if type_name.endswith("/Image"):  # assigning anything but array.array is very slow
        fields["data"] = array.array("B", fields["data"].tobytes())
    return getattr(importlib.import_module(f"{package}.msg"), name)(**fields)


def step_stamp(contract: Contract, step: int) -> int:
    return round(step * 1e9 / contract.rate_hz)


class LockstepRobot:
    """Publishes like the bridges: the action that led to a step, then its observations."""

    def __init__(self, contract: Contract, make: Factory = plain_factory, seed: int = 0) -> None:
        self.contract = contract
        self.make = make
        self.rng = np.random.default_rng(seed)
        self.epoch = 0

    def run(self, steps: int, first_step: int = 0) -> Iterator[tuple[str, Any]]:
        """(key, message) in the order of publication."""
        for step in range(first_step, first_step + steps):
            if step > first_step and self.contract.action.topic:
                yield "action", self.action(step - 1)
            for key in self.contract.observations:
                yield key, self.observation(key, step)

    def header(self, step: int, frame_id: str = "") -> Any:
        stamp = step_stamp(self.contract, step)
        time = self.make("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
        return self.make("std_msgs/msg/Header", stamp=time, frame_id=frame_id)

    def action(self, step: int) -> Any:
        action = self.rng.uniform(-1, 1, 7).astype(np.float32)
        flags = ("clipped", "workspace_limited", "leashed", "rejected", "held")
        return self.make(
            "diwa_msgs/msg/ExecutedAction",
            header=self.header(step),
            epoch=self.epoch,
            requested=action,
            action=action,
            **dict.fromkeys(flags, False),
        )

    def observation(self, key: str, step: int) -> Any:
        stream = self.contract.observations[key]
        header = self.header(step, stream.frame_id)
        return getattr(self, f"_{stream.kind}")(stream, header)

    def _pose(self, stream: Any, header: Any) -> Any:
        x, y, z, *quaternion = (float(v) for v in self.rng.normal(size=7))
        qx, qy, qz, qw = (v / float(np.linalg.norm(quaternion)) for v in quaternion)
        pose = self.make(
            "geometry_msgs/msg/Pose",
            position=self.make("geometry_msgs/msg/Point", x=x, y=y, z=z),
            orientation=self.make("geometry_msgs/msg/Quaternion", x=qx, y=qy, z=qz, w=qw),
        )
        return self.make(stream.type, header=header, pose=pose)

    def _joints(self, stream: Any, header: Any) -> Any:
        names = list(reversed(stream.names))  # the contract's order is not the driver's
        values = self.rng.normal(size=len(names))
        empty = np.empty(0)
        return self.make(
            stream.type, header=header, name=names, position=values, velocity=empty, effort=empty
        )

    def _scene(self, stream: Any, header: Any) -> Any:
        state = self.rng.normal(size=stream.size).astype(np.float32)
        return self.make(stream.type, header=header, epoch=self.epoch, state=state)

    def _image(self, stream: Any, header: Any) -> Any:
        pixels = self.rng.integers(0, 256, (stream.height, stream.width, 3), dtype=np.uint8)
        return self.make(
            stream.type,
            header=header,
            height=stream.height,
            width=stream.width,
            encoding=stream.encoding,
            is_bigendian=0,
            step=3 * stream.width,
            data=pixels.reshape(-1),
        )
