# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: the simulated play table as a robot on topics."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from diwa_msgs.msg import ActionChunk, ExecutedAction
from diwa_msgs.srv import ResetScene
from rclpy.node import Node

from diwa.control.schedule import ChunkSchedule
from diwa.control.watchdog import Watchdog
from diwa.data.contract import Contract, load_contract
from diwa.errors import ConfigError
from diwa.sim.play_table import PlayTableConfig, PlayTableEnv
from diwa_ros import qos
from diwa_ros.conversions import decode_chunk, fill_executed, float_list, time_message, time_ns
from diwa_ros.diagnostics import OK, WARN, Diagnostics, Report
from diwa_ros.parameters import declare
from diwa_ros.paths import find_contract
from diwa_ros.publishing import ObservationPublisher
from diwa_ros.robot_contract import publish_contract
from diwa_ros.running import run_node
from diwa_ros.table import Table


class CalvinBridge(Node):
    """Owns the simulation; executes action chunks; publishes what the contract names."""

    def __init__(self) -> None:
        super().__init__("calvin_bridge")
        name = declare(
            self, "contract", "panda_calvin", "contract: a YAML file, or the name of one we ship"
        )
        cameras = declare(self, "cameras", True, "render and publish the contract's images")
        blocks = declare(self, "blocks", True, "put the three blocks on the table")
        seed = declare(self, "seed", 0, "of the first scene", minimum=0, maximum=2**31 - 1)
        self._declare_timing()
        self._contract = load_contract(find_contract(name))
        self._table = Table(make_env(self._contract, cameras, blocks), self._contract, seed)
        self._queue = ChunkSchedule(self._contract.action, self._contract.period_ns)
        self._queue.set_epoch(self._table.epoch)
        self._watchdog = Watchdog(self._stale_s)
        self._commanded = False  # someone has driven in this episode
        self._stale = False
        self._discarded = 0
        self._reported_steps = 0
        self._idle_steps = -1
        self._executed = ExecutedAction()
        topic = self._contract.require_action_topic("the bridge")
        self._actions = self.create_publisher(ExecutedAction, topic, qos.OBSERVATION)
        self._observations = ObservationPublisher(self, self._contract, cameras)
        self._contracts = publish_contract(self, self._contract)
        self.create_subscription(ActionChunk, "action_chunk", self._on_chunk, qos.COMMAND)
        self.create_service(ResetScene, "~/reset", self._on_reset)
        if self._factor > 0:
            self.create_timer(1 / (self._contract.rate_hz * self._factor), self._on_tick)
        else:
            self.create_timer(self._idle_s, self._on_idle)
        self._diagnostics = Diagnostics(self, self._report)
        self._observations.publish(self._table)

    def _declare_timing(self) -> None:
        self._factor = declare(
            self,
            "real_time_factor",
            1.0,
            "speed against real time; 0: in step with the actions, one step per action received",
            minimum=0.0,
            maximum=100.0,
        )
        self._stale_s = declare(
            self,
            "stale_after_s",
            0.5,
            "without actions for this long, a running bridge says so; it holds from the first step",
            minimum=0.0,
            maximum=60.0,
        )
        self._idle_s = declare(
            self,
            "idle_period_s",
            0.1,
            "in step with the actions: the latest observation is published again this often while "
            "no action comes, with the same stamp",
            minimum=0.01,
            maximum=10.0,
        )

    def _on_chunk(self, message: ActionChunk) -> None:
        try:
            chunk = decode_chunk(message, self._contract.action)
        except ConfigError as error:
            self._discarded += 1
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        if message.epoch == self._table.epoch and not len(chunk):
            self._queue.flush()
            return
        stamp_ns = time_ns(message.header.stamp)
        if not self._queue.push(chunk, stamp_ns, message.epoch, message.sequence):
            self._discarded += 1
            return
        self._commanded = True
        self._watchdog.feed(time.monotonic())
        if self._factor == 0:
            while len(self._queue):
                self._advance()

    def _on_tick(self) -> None:
        """Real time: one step, with an action or without."""
        self._advance()
        stale = self._commanded and self._watchdog.expired(time.monotonic())
        if stale and not self._stale:
            self.get_logger().warning("no actions arrive: holding the pose")
        elif self._stale and not stale:
            self.get_logger().info("actions arrive again")
        self._stale = stale

    def _on_idle(self) -> None:
        """In step: say again where the arm waits, for those who came late."""
        if self._idle_steps == self._table.steps:
            self._observations.publish(self._table)
        self._idle_steps = self._table.steps

    def _advance(self) -> None:
        executed = self._table.step(self._queue.pop(self._table.stamp_ns))
        fill_executed(self._executed, executed, self._table.epoch)
        self._actions.publish(self._executed)
        self._observations.publish(self._table)

    def _on_reset(
        self, request: ResetScene.Request, response: ResetScene.Response
    ) -> ResetScene.Response:
        try:
            self._table.reset(request.seed if request.seed >= 0 else None, _options(request))
        except (ConfigError, ValueError) as error:
            response.message = str(error)
            self.get_logger().error(f"cannot reset: {error}")
        else:
            response.success = True
            self._queue.flush()
            self._queue.set_epoch(self._table.epoch)
            self._commanded = self._stale = False
            self._observations.publish(self._table)
        response.epoch = self._table.epoch
        response.stamp = time_message(self._table.stamp_ns)
        return response

    def _report(self) -> Report:
        steps = self._table.steps - self._reported_steps
        self._reported_steps = self._table.steps
        values: dict[str, Any] = {
            "real_time_factor": self._factor,
            "steps per second": steps,
            "steps": self._table.steps,
            "epoch": self._table.epoch,
            "chunks discarded": self._discarded,
            **asdict(self._table.filter.counts),
        }
        if self._stale:
            return Report(WARN, "no actions arrive: holding the pose", values)
        return Report(OK, "running" if self._factor else "in step with the actions", values)


def make_env(contract: Contract, cameras: bool, blocks: bool) -> PlayTableEnv:
    """The simulation as the contract describes it."""
    sizes = {
        key: (contract.observations[key].height, contract.observations[key].width)
        for key in contract.image_keys
    }
    unknown = set(sizes) - {"rgb_static", "rgb_gripper"}
    if unknown:
        raise ConfigError(
            f"contract {contract.name}: images {sorted(unknown)}",
            expected="rgb_static and rgb_gripper",
            hint="the simulated table has these two cameras",
        )
    config: dict[str, Any] = {
        "cameras": cameras and bool(sizes),
        "blocks": blocks,
        "action": contract.action,
    }
    if "rgb_static" in sizes:
        config["static_size"] = sizes["rgb_static"]
    if "rgb_gripper" in sizes:
        config["gripper_size"] = sizes["rgb_gripper"]
    return PlayTableEnv(PlayTableConfig(**config))


def _options(request: ResetScene.Request) -> dict[str, Any]:
    options = {
        "task": request.task or None,
        "robot_obs": float_list(request.robot_obs),
        "scene_obs": float_list(request.scene_obs),
    }
    return {key: value for key, value in options.items() if value is not None}


def main() -> int:
    """Run the node."""
    return run_node(CalvinBridge)


if __name__ == "__main__":
    raise SystemExit(main())
