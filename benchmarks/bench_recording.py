# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the recorder loses and costs: two 200x200 cameras, joints, pose and action over DDS.

The robot is this process, the recorder another one. Everything in the bag is counted afterwards:
every stamp that was published has to be there, once. Keeps the figures under "recording" in
runs/bench.json. `--full` records 10 minutes at 30 Hz and 2 minutes at 100 Hz; without it, 20
seconds each.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from diwa_msgs.msg import ExecutedAction, RecorderStatus
from diwa_msgs.srv import EndEpisode, StartEpisode
from rclpy.executors import SingleThreadedExecutor

from diwa.data.bag_reader import BagReader
from diwa.data.bags import contract_topics
from diwa.data.contract import Contract, load_contract
from diwa.data.decode import stamp_ns
from diwa.files import read_json, write_json, write_text
from diwa_ros import qos
from diwa_ros.conversions import (
    fill_image,
    fill_joints,
    fill_pose,
    make_image,
    make_joints,
    make_pose,
    message_type,
    set_stamp,
)
from diwa_ros.processes import NodeProcess

ROOT = Path(__file__).resolve().parent.parent
FULL = {30.0: 600.0, 100.0: 120.0}
SHORT = {30.0: 20.0, 100.0: 20.0}
WAIT_S = 60.0
KEPT_S = 4.0
DOMAIN = 1 + os.getpid() % 101
NAMESPACE = f"/bench_{os.getpid()}"  # nobody else publishes here, even in the same domain


def bench_contract(rate_hz: float) -> Contract:
    """The camera contract with two 200x200 images and no scene."""
    plain = load_contract(ROOT / "config/contracts/panda_calvin.yaml").model_dump(mode="json")
    plain["rate_hz"] = rate_hz
    del plain["observations"]["scene_state"]
    plain["observations"]["rgb_gripper"].update(height=200, width=200)
    return Contract.model_validate(plain)


class Robot:
    """Publishes everything of one control step with one stamp, reliably.

    Its publishers keep `KEPT_S` of messages. A message that was lost on the way is sent again when
    the subscriber asks for it, which, with Fast DDS, it may do only every 3 seconds.
    """

    def __init__(self, node: Any, contract: Contract, depth: int) -> None:
        rng = np.random.default_rng(0)
        profile = qos.reliable(depth or round(KEPT_S * contract.rate_hz))
        self._senders: list[Callable[[int], None]] = []
        for stream in contract.observations.values():
            publisher = node.create_publisher(message_type(stream.type), stream.topic, profile)
            if stream.kind == "image":
                size = (stream.height, stream.width, 3)
                message = make_image(stream.frame_id, stream.encoding)
                fill_image(message, 0, rng.integers(0, 256, size, dtype=np.uint8))
            elif stream.kind == "joints":
                message = make_joints(stream.names)
                fill_joints(message, 0, rng.normal(size=len(stream.names)))
            else:
                message = make_pose(stream.frame_id)
                fill_pose(message, 0, np.array([0.1, 0.2, 0.5, 0, 0, 0, 1.0]))
            self._senders.append(self._sender(publisher, message))
        action = node.create_publisher(ExecutedAction, contract.action.topic, profile)
        self._senders.append(self._sender(action, ExecutedAction()))

    def _sender(self, publisher: Any, message: Any) -> Callable[[int], None]:
        def send(stamp: int) -> None:
            set_stamp(message.header.stamp, stamp)
            publisher.publish(message)

        return send

    def publish(self, stamp: int) -> None:
        """One step."""
        for send in self._senders:
            send(stamp)


class Session:
    """The recorder in its process, and a node that plays the robot and talks to it."""

    def __init__(self, folder: Path, contract: Contract, depth: int) -> None:
        self.contract = contract
        settings = folder / "contract.yaml"
        write_text(settings, contract.to_yaml())
        self.recorder = NodeProcess(
            "play_recorder",
            {"contract": str(settings), "folder": str(folder / "bags")},
            folder,
            namespace=NAMESPACE,
            environment={"ROS_DOMAIN_ID": str(DOMAIN), "OMP_NUM_THREADS": "1"},
        )
        self.node = rclpy.create_node("bench_robot", namespace=NAMESPACE)
        self.robot = Robot(self.node, contract, depth)
        self.status: RecorderStatus | None = None
        self.worst_late_s = 0.0
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._start = self.node.create_client(StartEpisode, "play_recorder/start_episode")
        self._end = self.node.create_client(EndEpisode, "play_recorder/end_episode")
        self.node.create_subscription(
            RecorderStatus, "play_recorder/status", self._on_status, qos.STATUS
        )

    def _on_status(self, message: RecorderStatus) -> None:
        self.status = message

    def close(self) -> None:
        """End the recorder and this node."""
        self.recorder.stop()
        self.node.destroy_node()

    def call(self, client: Any, request: Any) -> Any:
        """Answer of a service; asked again when it is lost, as it may be right after the start."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            if not client.wait_for_service(1.0):
                continue
            future = client.call_async(request)
            self._executor.spin_until_future_complete(future, timeout_sec=5.0)
            if future.done():
                if not future.result().success:
                    raise SystemExit(future.result().message)
                return future.result()
        raise SystemExit(f"no answer from {client.srv_name}\n{self.recorder.log_text()}")

    def play(self, steps: int, on_step: Callable[[], None] | None = None) -> list[int]:
        """Publish `steps` control steps on time; returns their stamps.

        Where this process was kept waiting, the rest comes later: a robot does not catch up.
        """
        period_s = 1 / self.contract.rate_hz
        due_s, stamps = time.monotonic(), []
        for _ in range(steps):
            while (rest := due_s - time.monotonic()) > 0:
                time.sleep(min(rest, 0.01))
            self.worst_late_s = max(self.worst_late_s, -rest)
            due_s = max(due_s, time.monotonic() - period_s) + period_s
            stamps.append(time.time_ns())
            self.robot.publish(stamps[-1])
            self._executor.spin_once(timeout_sec=0.0)
            if on_step is not None:
                on_step()
        return stamps

    def record(self, seconds: float) -> dict[str, Any]:
        """Record one episode; returns what it cost and what is missing in it."""
        rate_hz = self.contract.rate_hz
        self.call(self._start, StartEpisode.Request(note="benchmark"))
        process = psutil.Process(self.recorder.pid)
        before, wall = process.cpu_times(), time.monotonic()
        memory: list[int] = []
        self.worst_late_s = 0.0
        stamps = self.play(
            round(seconds * rate_hz), lambda: memory.append(process.memory_info().rss)
        )
        after, wall = process.cpu_times(), time.monotonic() - wall
        request = EndEpisode.Request(outcome=EndEpisode.Request.SUCCESS, reason="complete")
        set_stamp(request.end, stamps[-1])
        answer = self.call(self._end, request)
        user, system = after.user - before.user, after.system - before.system
        return {
            "seconds": wall,
            "rate_hz": rate_hz,
            "recorder_cpu_share": (user + system) / wall,
            "recorder_cpu_share_system": system / wall,
            "recorder_memory_mb": max(memory) / 1e6,
            "robot_worst_late_s": self.worst_late_s,
            "problems": list(answer.problems),
            **count(Path(answer.path), self.contract, stamps),
        }


def count(bag: Path, contract: Contract, stamps: list[int]) -> dict[str, Any]:
    """Messages published, recorded and missing, over all topics; size of the bag."""
    topics = contract_topics(contract)
    seen: dict[str, list[int]] = {topic: [] for topic in topics}
    with BagReader(bag) as reader:
        names = {reader.find(topic): topic for topic in topics}
        for name, _, message in reader.messages():
            seen[names[name]].append(stamp_ns(message))
    expected = set(stamps)
    missing = {topic: len(expected - set(found)) for topic, found in seen.items()}
    return {
        "published": len(stamps) * len(topics),
        "recorded": sum(len(expected & set(found)) for found in seen.values()),
        "missing": sum(missing.values()),
        "missing_by_topic": {topic: count for topic, count in missing.items() if count},
        "repeated": sum(len(found) - len(set(found)) for found in seen.values()),
        "from_before": sum(len(set(found) - expected) for found in seen.values()),
        "megabytes": sum(path.stat().st_size for path in bag.iterdir()) / 1e6,
    }


def measure(rate_hz: float, seconds: float, depth: int) -> dict[str, Any]:
    """A recorder of its own for every rate; the first second only warms up."""
    with tempfile.TemporaryDirectory(prefix="bench_recording_") as name:
        session = Session(Path(name), bench_contract(rate_hz), depth)
        try:
            deadline = time.monotonic() + WAIT_S
            while session.status is None:
                session.play(5)
                if time.monotonic() > deadline or session.recorder.poll() is not None:
                    raise SystemExit(f"the recorder is silent\n{session.recorder.log_text()}")
            session.play(round(rate_hz))
            return session.record(seconds)
        finally:
            session.close()


def main() -> None:
    """Measure each rate and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs/bench.json")
    parser.add_argument("--full", action="store_true", help="10 min at 30 Hz, 2 min at 100 Hz")
    parser.add_argument("--rates", type=float, nargs="*", help="only these [Hz]")
    parser.add_argument(
        "--depth",
        type=int,
        default=0,
        help=f"messages that publishers keep; 0: {KEPT_S:g} s of them",
    )
    arguments = parser.parse_args()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(domain_id=DOMAIN)
    figures = {}
    for rate_hz, seconds in (FULL if arguments.full else SHORT).items():
        if arguments.rates and rate_hz not in arguments.rates:
            continue
        figures[f"{rate_hz:g}_hz"] = result = measure(rate_hz, seconds, arguments.depth)
        print(f"recording, {rate_hz:g} Hz")
        for key, value in result.items():
            shown = f"{value:12,.3f}" if isinstance(value, float) else f"{value!s:>12}"
            print(f"  {key.replace('_', ' '):<28}{shown}")
    rclpy.shutdown()
    kept = read_json(arguments.out) if arguments.out.is_file() else {}
    kept.setdefault("recording", {}).update(figures)
    kept["recording_machine"] = {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }
    write_json(arguments.out, kept)
    print(f"kept in {arguments.out}")


if __name__ == "__main__":
    main()
