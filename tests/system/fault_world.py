# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A policy server, a bridge and a lab that run a skill, for faults to be injected into."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from diwa_msgs.action import RunSkill
from diwa_msgs.msg import ActionChunk, ExecutedAction, PolicyStatus, RobotStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient
from std_srvs.srv import Trigger

from diwa.agent import Agent
from diwa.control.robots import load_robot
from diwa.data.contract import Contract, load_contract
from diwa.files import write_text
from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.reward.classifier import ClassifierConfig, SuccessClassifier
from diwa.world_model.config import InputConfig
from diwa.world_model.model import WorldModel
from diwa_ros import qos
from diwa_ros.conversions import make_chunk
from fault_lab import Lab
from learning_fixtures import ROOT, tiny_world_model_config, unit_statistics
from system.graph import Graph

BEGIN_S = 90.0  # for a skill that moves the arm
STATE_AGE_S = 0.25  # parameters here; a real lab's are in config/, and shorter
STOP_AFTER_S = 2.0
STALE_S = 1.5
SUBSTEPS = 2  # targets in a control period


def fault_contract() -> Contract:
    """The FR3's with one small camera."""
    raw = load_contract(ROOT / "config/contracts/fr3_franka.yaml").model_dump(mode="json")
    del raw["observations"]["rgb_gripper"]
    raw["observations"]["rgb_static"] |= {"height": 64, "width": 64}
    return Contract.model_validate(raw)


def save_agent(path: Path, contract: Contract) -> None:
    """An untrained agent: it moves, somehow."""
    torch.manual_seed(1)
    inputs = (InputConfig(key="rgb_static", encoder="cnn"), InputConfig(key="proprio"))
    config = tiny_world_model_config(inputs=inputs, cnn_depth=2)
    statistics = {"proprio": unit_statistics()["proprio"]}
    model = WorldModel(config, statistics, torch.tensor(contract.action.neutral))
    policy_config = PolicyConfig(hidden=16, steps=4, finetune_steps=2)
    classifier_config = ClassifierConfig(encoder_units=8, embed=8, head_units=8)
    meta = {
        "contract": contract.model_dump(mode="json"),
        "task": "open_drawer",
        "world_model": config.model_dump(mode="json"),
        "statistics": {k: {n: a.tolist() for n, a in v.items()} for k, v in statistics.items()},
        "policy": policy_config.model_dump(mode="json"),
        "classifier": classifier_config.model_dump(mode="json"),
        "feat": config.feat,
        "tuned": False,
    }
    policy = DiffusionPolicy(policy_config, config.feat)
    Agent(model, policy, SuccessClassifier(classifier_config, config.feat), meta).save(path)


class World:
    """The lab, the bridge, the policy server, and what they say."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.graph = Graph(folder, domain)
        self.contract = fault_contract()
        robot = yaml.safe_load((ROOT / "config/robots/fr3.yaml").read_text())
        robot["guard"]["state_age"] = STATE_AGE_S
        preset = yaml.safe_load((ROOT / "config/backends/crisp.yaml").read_text())
        preset["target"]["twist_topic"] = ""
        preset["state"]["wrench"] = "wrench"
        preset["gripper"] = {"kind": "position", "joints": ""}
        for name, raw in (("robot", robot), ("preset", preset)):
            write_text(folder / f"{name}.yaml", yaml.safe_dump(raw))
        write_text(folder / "contract.yaml", self.contract.to_yaml())
        save_agent(folder / "checkpoint", self.contract)
        context = self.graph.node.context
        self.lab = Lab(context, self.contract, load_robot(folder / "robot.yaml"))
        self.robot = self.graph.collect(RobotStatus, "franka_bridge/status", qos.STATUS)
        self.policy = self.graph.collect(PolicyStatus, "policy_server/status", qos.STATUS)
        self.executed = self.graph.collect(ExecutedAction, "executed_action")
        self.chunks = self.graph.node.create_publisher(ActionChunk, "action_chunk", qos.COMMAND)
        self._client = ActionClient(self.graph.node, RunSkill, "policy_server/run_skill")
        self._services: dict[str, Any] = {}
        self._sequence = 1_000_000
        self.start_bridge()
        self.start_server()

    def start_bridge(self) -> None:
        self.graph.start(
            "franka_bridge",
            contract=str(self.graph.folder / "contract.yaml"),
            robot=str(self.graph.folder / "robot.yaml"),
            preset=str(self.graph.folder / "preset.yaml"),
            confirmed_file=str(self.graph.folder / "confirmed.json"),
            command_rate_hz=SUBSTEPS * self.contract.rate_hz,
            settle_s=0.1,
            stop_after_s=STOP_AFTER_S,
            chunk_age_s=0.5,
            require_enable=True,
        )

    def start_server(self) -> None:
        self.graph.start(
            "policy_server",
            checkpoint=str(self.graph.folder / "checkpoint"),
            stale_after_s=STALE_S,
            require_enable=True,
            require_contract=True,
        )

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        return self.graph.wait_until(condition, what)

    def ask(self, name: str) -> Trigger.Response:
        """Answer of a service of the bridge's; asked again every second, as it may be lost."""
        client = self._services.get(name)
        if client is None:
            client = self.graph.node.create_client(Trigger, f"franka_bridge/{name}")
            self._services[name] = client
        answers: list[Any] = []
        asked = float("-inf")

        def answered() -> Any:
            nonlocal asked
            if client.service_is_ready() and time.monotonic() - asked > 1.0:
                answers.append(client.call_async(Trigger.Request()))
                asked = time.monotonic()
            return next((answer for answer in answers if answer.done()), None)

        return self.wait(answered, f"answer of {name}").result()

    def change(self, node: str, transition: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        self.graph.call(ChangeState, f"{node}/change_state", request)

    def says(self, state: int, since: int = 0) -> bool:
        return any(status.state == state for status in self.robot[since:])

    @property
    def stalls(self) -> tuple[int, int, int]:
        """Counts that grow when this machine is too busy for the lab, the bridge or the server."""
        missed = self.robot[-1].missed_periods if self.robot else 0
        return self.lab.stalls, missed, self.policy[-1].budget_misses if self.policy else 0

    def fresh(self) -> RobotStatus:
        """A status that the bridge sends after this call."""
        count = len(self.robot)
        self.wait(lambda: len(self.robot) > count + 1, "status of the bridge")
        return self.robot[-1]

    def mend(self) -> None:
        """Everything runs, nothing is wrong, the arm is ready at its start."""
        take_back = self.lab.filters.pop("mended", None)
        if take_back is not None:
            take_back(None)
        starts = {"franka_bridge": self.start_bridge, "policy_server": self.start_server}
        for name, start in starts.items():
            self.graph.processes[name].send(signal.SIGCONT)
            if self.graph.processes[name].poll() is not None:
                start()
                (self.robot if name == "franka_bridge" else self.policy).clear()

        def both_speak() -> bool:
            assert all(self.graph.processes[name].poll() is None for name in starts), (
                self.graph.logs()
            )
            return bool(self.robot and self.policy)

        self.wait(both_speak, "status of bridge and server")
        inactive = {"franka_bridge": self.robot[-1].state == RobotStatus.INACTIVE}
        inactive["policy_server"] = self.policy[-1].state == PolicyStatus.INACTIVE
        for name in [name for name, it_is in inactive.items() if it_is]:
            self.change(name, Transition.TRANSITION_ACTIVATE)
        self.ask("stop")
        self.lab.mend()
        self.ask("recover")
        asked = time.monotonic()

        def ready() -> bool:
            nonlocal asked
            if time.monotonic() - asked > 2.0:  # something was late: once more
                self.ask("recover")
                asked = time.monotonic()
            return self.fresh().state == RobotStatus.READY

        self.wait(ready, "arm that is ready")
        serves = (PolicyStatus.IDLE, PolicyStatus.FAULT)
        self.wait(lambda: self.policy[-1].state in serves, "policy server")
        self.wait(self._client.server_is_ready, "policy server")

    def run_skill(self) -> Any:
        """A skill that has begun to move the arm; the future of its result."""
        tries: list[Any] = []
        deadline = time.monotonic() + BEGIN_S
        while time.monotonic() < deadline:
            begun = len(self.executed)
            goal = RunSkill.Goal(time_limit=3000.0, success_threshold=2.0, seed=-1)
            handle = self.graph.result_of(self._client.send_goal_async(goal), "goal response")
            assert handle.accepted
            future = handle.get_result_async()

            def moves(begun: int = begun) -> bool:
                return sum(not action.held for action in self.executed[begun:]) > 6

            self.wait(lambda f=future, m=moves: f.done() or m(), "motion")
            if not future.done():
                return future
            # The server did not know the bridge yet, or the machine was so slow that a guard took
            # it for a fault.
            tries.append(future.result().result)
            self.mend()
        raise AssertionError(f"no skill runs: {tries}\n{self.graph.logs()}")

    def result_of_goal(self, goal: RunSkill.Goal) -> RunSkill.Result:
        """Result of a goal that ends by itself."""
        handle = self.graph.result_of(self._client.send_goal_async(goal), "goal response")
        return self.graph.result_of(handle.get_result_async(), "result").result

    def send(self, **changes: Any) -> None:
        """A chunk as a policy would send it, but for the changes."""
        self._sequence += 1
        action = np.tile(np.float32([0.5, 0.2, -0.1, 0, 0, 0, 1]), (4, 1))
        now_ns = self.graph.node.get_clock().now().nanoseconds
        stamp_ns = now_ns + changes.pop("shift_ns", 0)
        epoch = self.robot[-1].epoch + changes.pop("epochs", 0)
        chunk = make_chunk(changes.pop("actions", action), stamp_ns, epoch, self._sequence, 1 / 30)
        for name, value in changes.items():
            setattr(chunk, name, value)
        self.chunks.publish(chunk)

    def require_rest(self) -> None:
        """From here on no target moves any more."""
        self.graph.settle()
        first = len(self.lab.commands)
        self.graph.settle()
        poses = np.array([command.pose for command in self.lab.commands[first:]]).reshape(-1, 7)
        if len(poses):
            assert np.ptp(poses, axis=0).max() < 1e-3, "the arm is still moved"

    def require_safe(self) -> None:
        """No target since the last call was outside the limits."""
        violations = []
        while self.lab.violations:  # the lab goes on adding to it
            violations.append(self.lab.violations.pop(0))
        assert not violations, violations[:10]

    def close(self) -> None:
        self.lab.close()
        self.graph.close()
