# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A graph with a bridge to an arm that is not there, and a person who drives it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from diwa_msgs.msg import ExecutedAction, RobotStatus
from geometry_msgs.msg import PoseStamped
from std_srvs.srv import Trigger

from diwa_ros.backends.presets import load_preset
from diwa_ros.conversions import make_chunk, make_hold, time_ns
from system.fake_controllers import FakeControllers
from system.graph import Graph

CONFIG = Path(__file__).resolve().parents[2] / "config"
# For functions, not times: a loaded machine may be late without being found at fault.
PATIENT = {"guard": {"state_age": 2.0, "stretch_time": 5.0}}


class ArmGraph:
    """Bridge, controllers, and what they say.

    Args:
        graph: of the test.
        preset: name of the bridge's preset.
        gripper: keys of the preset's gripper to change.
        limits: keys of the robot's limits to change.
        controllers: whether there are any.
        environment: variables of the bridge's process to set.
        **parameters: of the bridge.
    """

    def __init__(
        self,
        graph: Graph,
        preset="crisp",
        gripper=None,
        limits=PATIENT,
        controllers=True,
        environment=None,
        **parameters,
    ) -> None:
        self.graph = graph
        self.sequence = 0
        self.chunks = None
        preset_path = graph.folder / f"{preset}.yaml"
        content = yaml.safe_load((CONFIG / "backends" / f"{preset}.yaml").read_text())
        content["gripper"].update(gripper or {})
        preset_path.write_text(yaml.safe_dump(content))
        robot = yaml.safe_load((CONFIG / "robots" / "fr3.yaml").read_text())
        for part, values in limits.items():
            robot[part].update(values)
        robot_path = graph.folder / "robot.yaml"
        robot_path.write_text(yaml.safe_dump(robot))
        self.preset = load_preset(preset_path, "fr3")
        self.statuses = graph.collect(RobotStatus, "franka_bridge/status")
        self.executed = graph.collect(ExecutedAction, "executed_action")
        self.poses = graph.collect(PoseStamped, "measured/ee_pose")
        context = graph.node.context
        self.controllers = FakeControllers(context, self.preset) if controllers else None
        defaults = {"settle_s": 0.1, "stop_after_s": 20.0, "hold_after_s": 5.0, "chunk_age_s": 20.0}
        self.process = graph.start(
            "franka_bridge",
            environment=environment,
            preset=str(preset_path),
            robot=str(robot_path),
            confirmed_file=str(graph.folder / "confirmed.json"),
            **{**defaults, **parameters},
        )

    def close(self) -> None:
        if self.controllers is not None:
            self.controllers.close()

    @property
    def status(self) -> RobotStatus | None:
        return self.statuses[-1] if self.statuses else None

    def until(self, state: int, words: str = "") -> RobotStatus:
        """Wait for a state with these words in its reason."""

        def there():
            status = self.status
            return status is not None and status.state == state and words in status.reason

        self.graph.wait_until(there, f"state {state} {words!r}; {self.status}")
        return self.status

    def ready(self) -> ArmGraph:
        """Wait until the gate is open, and until an observation since then is there."""
        self.until(RobotStatus.READY)
        epoch = self.status.epoch
        self.chunks = self.chunks or self.graph.publisher()
        self.fresh()
        assert self.executed[-1].epoch == epoch
        return self

    def fresh(self, count=5):
        """Wait for so many control periods."""
        first = len(self.executed)
        self.graph.wait_until(lambda: len(self.executed) >= first + count, "control periods")

    def send(self, chunk, source="", **changes):
        """Send actions (Ta, 7) for the newest observation."""
        seen = self.executed[-1]
        self.sequence += 1
        array = np.asarray(chunk, dtype=np.float32)
        message = make_chunk(array, time_ns(seen.header.stamp), seen.epoch, self.sequence, 1 / 30)
        message.source = source
        for name, value in changes.items():
            setattr(message, name, value)
        self.chunks.publish(message)

    def move(self, steps=30, action=(0.2, 0, 0, 0, 0, 0, 1), source=""):
        """Send actions and wait until they were executed; returns those that were.

        They may be fewer: the first ones are skipped where the chunk before was still going on.
        """
        first = len(self.executed)
        self.send(np.tile(action, (steps, 1)), source)

        def over():
            moved = [it for it in self.executed[first:] if not it.held]
            return moved if moved and self.executed[-1].held else []

        return self.graph.wait_until(over, f"{steps} actions; {self.status}")

    def hold(self):
        """Send a chunk of no steps."""
        seen = self.executed[-1]
        self.sequence += 1
        self.chunks.publish(make_hold(time_ns(seen.header.stamp), seen.epoch, self.sequence))

    def ask(self, name: str) -> Trigger.Response:
        """Call a service of the bridge's."""
        return self.graph.call(Trigger, f"franka_bridge/{name}", Trigger.Request())
