# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Driving the arm one action at a time, and the services that begin and end an episode.

Everything here spins the executor itself until what it waits for has happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from diwa_msgs.msg import ActionChunk
from diwa_msgs.srv import EndEpisode, ResetScene, StartEpisode
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from std_srvs.srv import Trigger

from diwa.data.contract import Contract
from diwa.errors import ConfigError
from diwa_ros import qos
from diwa_ros.asking import Asking
from diwa_ros.conversions import make_chunk, time_message, time_ns
from diwa_ros.observing import SCENE, Observed, Observer

RESEND_S = 0.5  # without an answer for this long, the last chunk is sent again
LOST_S = 15.0  # without an answer for this long, the robot counts as lost


class Driver(Asking):
    """A script's hands and eyes.

    Args:
        node: to act through.
        executor: that spins it.
        contract: of the robot.
        bridge: name of the bridge node, for its services.
        recorder: name of the recorder node, for its services; empty: nothing is recorded.
        acts: whether it sends actions at all.
        scene: whether a scene must be observed; a person does without.

    Attributes:
        simulated: there is a scene, which can be reset.
        logger: of the node.
    """

    def __init__(
        self,
        node: Node,
        executor: SingleThreadedExecutor,
        contract: Contract,
        bridge: str,
        recorder: str = "",
        *,
        acts: bool = True,
        scene: bool = True,
    ) -> None:
        super().__init__(node, executor)
        self.simulated = any(stream.kind == SCENE for stream in contract.observations.values())
        self.logger: RcutilsLogger = node.get_logger()
        self._period_s = contract.period_ns / 1e9
        self._observer = Observer(node, contract, scene=scene)
        self._sequence = 0
        self._chunk: ActionChunk | None = None
        if acts:
            self._actions = node.create_publisher(ActionChunk, "action_chunk", qos.COMMAND)
        self._recording = bool(recorder)
        self._reset: Client = node.create_client(ResetScene, f"{bridge}/reset")
        self._home: Client = node.create_client(Trigger, f"{bridge}/home")
        self._recover: Client = node.create_client(Trigger, f"{bridge}/recover")
        self._start: Client = node.create_client(
            StartEpisode, f"{recorder or 'none'}/start_episode"
        )
        self._end: Client = node.create_client(EndEpisode, f"{recorder or 'none'}/end_episode")

    @property
    def latest(self) -> Observed | None:
        """The newest observation."""
        return self._observer.latest

    def watch(self, watcher: Callable[[Observed], None]) -> None:
        """Have every observation passed on, from now on."""
        self._observer.watchers.append(watcher)

    def reset(self, seed: int, task: str) -> Observed:
        """Begin an episode in simulation; returns its first observation."""
        response = self.call(self._reset, ResetScene.Request(seed=seed, task=task))
        if not response.success:
            raise ConfigError(f"the scene could not be reset: {response.message}")
        self._observer.gripper = None
        self._chunk = None
        first_ns = time_ns(response.stamp)
        return self._wait_for(lambda seen: seen.stamp_ns >= first_ns)

    def home(self) -> None:
        """Have a real arm begin the slow way to the start."""
        self._trigger(self._home, "the arm does not go home")

    def recover(self) -> None:
        """Have a real arm go on after a stop or a reflex."""
        self._trigger(self._recover, "the arm does not recover")

    def observe(self) -> Observed:
        """The newest observation, once there is one."""
        return self._wait_for(lambda seen: True)

    def send(self, action: np.ndarray, seen: Observed) -> None:
        """Send one action (7,) for the observation that it answers."""
        self._sequence += 1
        self._observer.gripper = 1.0 if action[6] >= 0 else -1.0
        self._chunk = make_chunk(
            np.asarray(action, dtype=np.float32)[None],
            seen.stamp_ns,
            seen.epoch,
            self._sequence,
            self._period_s,
        )
        self._actions.publish(self._chunk)

    def step(self, action: np.ndarray, seen: Observed) -> Observed:
        """Send an action and wait for the next observation."""
        self.send(action, seen)
        return self._wait_for(lambda now: now.stamp_ns > seen.stamp_ns)

    def start_episode(self, task: str, note: str, first: Observed) -> str:
        """Begin to record at `first`; returns the episode's name, empty without a recorder."""
        if not self._recording:
            return ""
        request = StartEpisode.Request(task=task, note=note, start=time_message(first.stamp_ns))
        response = self.call(self._start, request)
        if not response.success:
            raise ConfigError(f"the episode could not be started: {response.message}")
        return str(response.episode_id)

    def end_episode(
        self, last: Observed, outcome: int, reason: str, *, task: str = "", discard: bool = False
    ) -> None:
        """End the recording with `last`."""
        if not self._recording:
            return
        request = EndEpisode.Request(
            task=task,
            outcome=outcome,
            reason=reason,
            discard=discard,
            end=time_message(last.stamp_ns),
        )
        response = self.call(self._end, request)
        if not response.success:
            raise ConfigError(f"the episode could not be ended: {response.message}")

    def _trigger(self, client: Client, problem: str) -> None:
        self._chunk = None
        response = self.call(client, Trigger.Request())
        if not response.success:
            raise ConfigError(f"{problem}: {response.message}")

    def _wait_for(self, wanted: Callable[[Observed], bool]) -> Observed:
        started = sent = time.monotonic()
        while (seen := self._observer.latest) is None or not wanted(seen):
            self._executor.spin_once()
            now = time.monotonic()
            if self._chunk is not None and now - sent > RESEND_S:
                self._actions.publish(self._chunk)  # refused if it was received before
                sent = now
            if now - started > LOST_S:
                raise ConfigError(
                    f"no observation for {LOST_S:g} s", hint="is the bridge running, and in step?"
                )
        return seen
