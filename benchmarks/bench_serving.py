# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Latencies of a served policy at the paper's size, with random weights.

First the models alone: from an observation to a chunk, two threads. Then over DDS: this process
plays the robot (two cameras, joints, pose, scene at 30 Hz; one action executed per control period),
the policy server is another one. What counts is the time from a camera's stamp to the moment when
the first action of its chunk is executed, which is at the next control period at the earliest, and
the control periods that had no action. Keeps the figures under "serving" in runs/bench.json.
`--seconds 600` is the long run.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import torch
from diwa_msgs.action import RunSkill
from diwa_msgs.msg import ActionChunk, ExecutedAction, PolicyStatus
from rclpy.action.client import ActionClient
from rclpy.executors import SingleThreadedExecutor

from diwa.agent import Agent
from diwa.config import load_config
from diwa.control.schedule import ChunkSchedule
from diwa.data.contract import Contract, load_contract
from diwa.data.frames import compose_observation
from diwa.files import read_json, write_json
from diwa.policy.diffusion import DiffusionPolicy
from diwa.reward.classifier import SuccessClassifier
from diwa.train.experiment import ExperimentConfig
from diwa.train.models import statistics_to_plain
from diwa.world_model.model import WorldModel
from diwa_ros import qos
from diwa_ros.conversions import (
    decode_chunk,
    fill_image,
    fill_joints,
    fill_pose,
    fill_scene,
    make_image,
    make_joints,
    make_pose,
    make_scene,
    message_type,
    set_stamp,
    time_ns,
)
from diwa_ros.processes import NodeProcess, Parameter

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "runs" / "bench.json"
DOMAIN = 1 + os.getpid() % 101
WAIT_S = 120.0
NEVER = 2.0
SETTLE_STEPS = 30  # control periods at the start that are not counted
POSE = np.array([0.0, -0.2, 0.5, 0.0, 0.0, 0.0, 1.0])


class UnitStatistics:
    """Statistics that leave a vector as it is."""

    def __init__(self, size: int) -> None:
        self.mean, self.std = np.zeros(size), np.ones(size)
        self.min, self.max = np.zeros(size), np.ones(size)


def paper_agent() -> Agent:
    """The sizes of config/experiments/calvin_vision.yaml, fine-tuned copy included."""
    torch.manual_seed(0)
    config = load_config(ExperimentConfig, ROOT / "config/experiments/calvin_vision.yaml")
    contract = load_contract(ROOT / "config/contracts/panda_calvin.yaml")
    plain = {"proprio": UnitStatistics(contract.proprio_size)}
    statistics = statistics_to_plain(plain)  # type: ignore[arg-type]
    arrays = {k: {n: np.asarray(v) for n, v in item.items()} for k, item in statistics.items()}
    model = WorldModel(config.world_model, arrays, torch.tensor(contract.action.neutral))
    feat = config.world_model.feat
    policy = DiffusionPolicy(config.policy, feat)
    policy.start_finetuning()
    meta = {
        "contract": contract.model_dump(mode="json"),
        "task": config.task,
        "world_model": config.world_model.model_dump(mode="json"),
        "statistics": statistics,
        "policy": config.policy.model_dump(mode="json"),
        "feat": feat,
        "tuned": True,
        "classifier": config.classifier.model_dump(mode="json"),
    }
    classifier = SuccessClassifier(config.classifier, feat)
    return Agent(model, policy, classifier, meta, overlap=True)


def raw_observation(contract: Contract, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What the topics carry: noise for images, rest for the arm."""
    made = {
        "pose": lambda stream: POSE,
        "joints": lambda stream: np.zeros(len(stream.names)),
        "scene": lambda stream: np.zeros(stream.size, dtype=np.float32),
        "image": lambda stream: rng.integers(
            0, 255, (stream.height, stream.width, 3), dtype=np.uint8
        ),
    }
    return {key: made[stream.kind](stream) for key, stream in contract.observations.items()}


def models_alone(agent: Agent, rounds: int) -> dict[str, float]:
    """From raw arrays to a chunk [ms]: resize, filter, judge, plan; as the server does it.

    At the control rate, with pauses as on a robot: models that rest lose their place in the caches.
    """
    rng, contract = np.random.default_rng(0), agent.contract
    action = np.array(contract.action.neutral, dtype=np.float32)
    raws = [raw_observation(contract, rng) for _ in range(8)]
    agent.reset()
    times = []
    for index in range(rounds + 10):
        started = time.perf_counter()
        agent.observe(compose_observation(contract, raws[index % 8], action), action)
        agent.success_probability()
        agent.plan()
        times.append(time.perf_counter() - started)
        time.sleep(max(contract.period_ns / 1e9 - times[-1], 0.0))
    return summary(times[10:])


def summary(times: list[float]) -> dict[str, float]:
    """Percentiles of times [s], in ms."""
    p50, p95, p99 = np.percentile(np.array(times) * 1e3, [50, 95, 99])
    return {"p50": p50, "p95": p95, "p99": p99, "max": max(times) * 1e3, "count": len(times)}


class Robot:
    """Publishes observations at the control rate and executes chunks, by absolute deadlines."""

    def __init__(self, node: Any, contract: Contract) -> None:
        self.periods = self.held = self.late_periods = 0
        self.arrivals: list[float] = []
        self.executions: list[float] = []
        self._contract = contract
        self._schedule = ChunkSchedule(contract.action, contract.period_ns)
        self._first: int | None = None  # stamp of a chunk whose first action is still to come
        self._executed = ExecutedAction()
        self._senders = self._make_senders(node)
        self._actions = node.create_publisher(
            ExecutedAction, contract.action.topic, qos.OBSERVATION
        )
        node.create_subscription(ActionChunk, "action_chunk", self._on_chunk, qos.COMMAND)
        self.stamp_ns = time.time_ns()

    def _make_senders(self, node: Any) -> list[Any]:
        raw, senders = raw_observation(self._contract, np.random.default_rng(0)), []
        for key, stream in self._contract.observations.items():
            publisher = node.create_publisher(
                message_type(stream.type), stream.topic, qos.OBSERVATION
            )
            message, fill = {
                "pose": lambda s: (make_pose(s.frame_id), fill_pose),
                "joints": lambda s: (make_joints(s.names), fill_joints),
                "scene": lambda s: (make_scene(), lambda m, at, v: fill_scene(m, at, 0, v)),
                "image": lambda s: (make_image(s.frame_id, s.encoding), fill_image),
            }[stream.kind](stream)
            fill(message, 0, raw[key])
            senders.append((publisher, message, raw[key], stream.kind, fill))
        return senders

    def tick(self, deadline_ns: int) -> None:
        """One control period: execute, then look again."""
        now_ns = time.time_ns()
        action = self._schedule.pop(self.stamp_ns)
        self.periods += 1
        self.held += action is None
        self.late_periods += now_ns - deadline_ns > self._contract.period_ns
        if action is not None and self._first is not None:
            self.executions.append((now_ns - self._first) / 1e9)
            self._first = None
        self._executed.held = action is None
        self._executed.action = np.zeros(7, np.float32) if action is None else action
        set_stamp(self._executed.header.stamp, self.stamp_ns)
        self._actions.publish(self._executed)
        self.stamp_ns = deadline_ns
        shade = self.periods % 256
        for publisher, message, value, kind, fill in self._senders:
            if kind == "image":
                value[0, :, :] = shade  # a camera never shows the same picture twice
            fill(message, self.stamp_ns, value)
            publisher.publish(message)

    def forget(self) -> None:
        """Count from here."""
        self.periods = self.held = self.late_periods = 0
        self.arrivals.clear()
        self.executions.clear()

    def _on_chunk(self, message: ActionChunk) -> None:
        stamp_ns = time_ns(message.header.stamp)
        chunk = decode_chunk(message, self._contract.action)
        if len(chunk) and self._schedule.push(chunk, stamp_ns, message.epoch, message.sequence):
            self.arrivals.append((time.time_ns() - stamp_ns) / 1e9)
            self._first = stamp_ns


class Bench:
    """The robot's side of the graph."""

    def __init__(self, contract: Contract) -> None:
        rclpy.init(domain_id=DOMAIN)
        self.node = rclpy.create_node("robot")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.robot = Robot(self.node, contract)
        self.status = PolicyStatus()
        self.node.create_subscription(
            PolicyStatus, "policy_server/status", self._on_status, qos.STATUS
        )
        self.skills: ActionClient = ActionClient(self.node, RunSkill, "policy_server/run_skill")
        self._period_ns = contract.period_ns
        self._next_ns = time.time_ns()

    def _on_status(self, status: PolicyStatus) -> None:
        self.status = status

    def run_until(self, condition: Any, limit_s: float) -> None:
        """Play the robot until `condition()` is true."""
        end = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end:
                raise SystemExit(f"nothing for {limit_s:g} s; is the machine overloaded?")
            while (left_s := (self._next_ns - time.time_ns()) / 1e9) > 0:
                self.executor.spin_once(timeout_sec=left_s)
            self.robot.tick(self._next_ns)
            self._next_ns += self._period_ns

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()


def over_dds(checkpoint: Path, folder: Path, seconds: float, serve_steps: int) -> dict[str, Any]:
    """Serve for `seconds`; latencies [ms] and what was missed."""
    contract = load_contract(ROOT / "config/contracts/panda_calvin.yaml")
    os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
    settings: dict[str, Parameter] = {
        "checkpoint": str(checkpoint),
        "serve_steps": serve_steps,
        "threads": 2,
    }
    bench = Bench(contract)
    try:
        with NodeProcess("policy_server", settings, folder):
            bench.run_until(lambda: bench.status.state == PolicyStatus.IDLE, WAIT_S)
            bench.run_until(bench.skills.server_is_ready, WAIT_S)
            goal = RunSkill.Goal(time_limit=seconds + 5.0, success_threshold=NEVER, seed=-1)
            bench.skills.send_goal_async(goal)
            bench.run_until(lambda: len(bench.robot.executions) > 2, WAIT_S)
            bench.robot.forget()
            bench.run_until(lambda: bench.robot.periods >= SETTLE_STEPS, WAIT_S)
            bench.robot.forget()
            periods = round(seconds * contract.rate_hz)
            bench.run_until(lambda: bench.robot.periods >= periods, 2 * seconds + WAIT_S)
            robot = bench.robot
            return {
                "seconds": seconds,
                "periods": robot.periods,
                "missed_periods": robot.held,
                "late_periods": robot.late_periods,
                "stamp_to_chunk": summary(robot.arrivals),
                "stamp_to_executed": summary(robot.executions),
                "server": {
                    "p50": 1e3 * bench.status.latency_p50,
                    "p95": 1e3 * bench.status.latency_p95,
                    "p99": 1e3 * bench.status.latency_p99,
                },
                "budget_misses": bench.status.budget_misses,
            }
    finally:
        bench.close()


def line(name: str, figures: dict[str, float]) -> str:
    """One row of the table."""
    values = " ".join(f"{figures.get(key, np.nan):9.2f}" for key in ("p50", "p95", "p99", "max"))
    return f"{name:44} {values}"


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run over DDS")
    parser.add_argument("--rounds", type=int, default=300, help="of the models alone")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # and one more for half of the filter
    agent = paper_agent()
    figures: dict[str, Any] = {"machine": platform.machine(), "torch": torch.__version__}
    print(f"\nserving: two threads, PyTorch {torch.__version__}; load {os.getloadavg()[0]:.1f}")
    print(f"{'[ms]':44} {'p50':>9} {'p95':>9} {'p99':>9} {'max':>9}")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        agent.save(checkpoint)
        for name, steps in (("DDPM, K = 20", 0), ("DDIM, 5 steps", 5)):
            agent.policy.serve_steps = steps or None
            alone = models_alone(agent, arguments.rounds)
            print(line(f"{name}: observation to chunk, alone", alone), " p99 <= 15")
            served = over_dds(checkpoint, Path(folder), arguments.seconds, steps)
            print(line(f"{name}: observation to chunk, server", served["server"]), " p99 <= 15")
            print(line(f"{name}: stamp to chunk over DDS", served["stamp_to_chunk"]))
            print(line(f"{name}: stamp to executed", served["stamp_to_executed"]), " p99 <= 40")
            missed = f"{served['missed_periods']} of {served['periods']}"
            print(f"{name}: control periods without an action: {missed}")
            figures[name] = {"models": alone, "served": served}
    kept = read_json(FIGURES) if FIGURES.exists() else {}
    write_json(FIGURES, {**kept, "serving": figures})


if __name__ == "__main__":
    main()
