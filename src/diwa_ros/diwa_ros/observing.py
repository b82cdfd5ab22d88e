# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The robot and the scene as scripts want them: one vector each, from messages of one stamp.

A real arm has no stream of a scene. Its episode epoch is then that of its executed actions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from diwa_msgs.msg import ExecutedAction
from rclpy.node import Node

from diwa.control.poses import euler_from_quaternion
from diwa.data.contract import Contract, Stream
from diwa.data.decode import decode, epoch_of, stamp_ns
from diwa.errors import ConfigError
from diwa_ros import qos
from diwa_ros.conversions import message_type

ARM = ("pose", "joints")
SCENE = "scene"
OPEN_WIDTH_M = 0.04  # a gripper that starts wider counts as commanded open


class Observed(NamedTuple):
    """One control step."""

    stamp_ns: int
    epoch: int
    robot_obs: np.ndarray  # (15,) float32, as `PlayTableEnv` has it
    scene_obs: np.ndarray  # (24,) float32; (0,) without a scene


class Observer:
    """Subscribes to pose, joints and scene and puts together what has the same stamp.

    Args:
        node: to subscribe from.
        contract: of the robot.
        scene: whether one is needed; else it is observed where the contract has it.

    Attributes:
        latest: the newest complete step; None before the first.
        gripper: the last gripper command, to be kept up to date by who commands it; None: to be
            told from the width.
        watchers: called with every complete step.
    """

    def __init__(self, node: Node, contract: Contract, *, scene: bool = True) -> None:
        self.latest: Observed | None = None
        self.gripper: float | None = None
        self.watchers: list[Callable[[Observed], None]] = []
        self._contract = contract
        self._parts: dict[str, tuple[int, np.ndarray]] = {}
        self._epoch = 0
        streams: dict[str, Stream] = {
            stream.kind: stream for stream in contract.observations.values()
        }
        kinds = (*ARM, SCENE) if scene or SCENE in streams else ARM
        missing = [kind for kind in kinds if kind not in streams]
        if missing:
            raise ConfigError(
                f"contract {contract.name}: no stream of kind {', '.join(missing)}",
                hint="scripts and tasks need pose, joints and scene of the simulated table, "
                "a person pose and joints",
            )
        self._streams = {kind: streams[kind] for kind in kinds}
        for kind, stream in self._streams.items():
            node.create_subscription(
                message_type(stream.type),
                stream.topic,
                partial(self._on_message, kind),
                qos.subscription_qos(stream),
            )

        if SCENE not in kinds:
            node.create_subscription(
                ExecutedAction, contract.action.topic, self._on_executed, qos.reliable(1)
            )

    def _on_executed(self, message: ExecutedAction) -> None:
        self._epoch = int(message.epoch)

    def _on_message(self, kind: str, message: Any) -> None:
        stamp = stamp_ns(message)
        self._parts[kind] = (stamp, decode(message, self._streams[kind]))
        if kind == SCENE:
            self._epoch = epoch_of(message) or 0
        if len(self._parts) < len(self._streams) or any(
            s != stamp for s, _ in self._parts.values()
        ):
            return
        pose, joints = (self._parts[kind][1] for kind in ARM)
        scene = self._parts[SCENE][1] if SCENE in self._parts else np.zeros(0, dtype=np.float32)
        robot = robot_observation(pose, joints, self.gripper)
        self.latest = Observed(stamp, self._epoch, robot, scene)
        for watcher in self.watchers:
            watcher(self.latest)


def robot_observation(pose: np.ndarray, joints: np.ndarray, gripper: float | None) -> np.ndarray:
    """The (15,) float32 robot state that scripted skills read.

    Args:
        pose: (7,) TCP position [m] and quaternion xyzw.
        joints: (9,) seven arm joints [rad] and two fingers [m].
        gripper: last command, -1 or 1; None: told from the width.
    """
    width = float(joints[7:].sum())
    if gripper is None:
        gripper = 1.0 if width > OPEN_WIDTH_M else -1.0
    parts = (pose[:3], euler_from_quaternion(pose[3:]), [width], joints[:7], [gripper])
    return np.concatenate(parts).astype(np.float32)
