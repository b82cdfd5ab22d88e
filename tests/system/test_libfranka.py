# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The libfranka backend with the real client library, against simulated arms."""

from __future__ import annotations

import importlib.util
import itertools
import signal

import numpy as np
import pytest
from diwa_msgs.msg import ActionChunk, ExecutedAction, RobotStatus
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from diwa.control.gripper import GripperCommand
from diwa_ros import qos
from franka_arms import SIMULATORS, Driver, SimulatedArm

missing = [
    name
    for name, there in {
        "franky-control": importlib.util.find_spec("franky"),
        "simulated arms (make test)": SIMULATORS.exists(),
    }.items()
    if not there
]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")

HOME = ("0", "-0.785", "0", "-2.356", "0", "1.571", "0.785")
SINGULAR = ("0", "1.28", "0", "-0.5415", "0", "2.74", "0")
STREAM_STEPS = 1800  # a minute
SKILLS, SKILL_STEPS = 20, 45
CHUNK_STEPS = 12
CHUNK_PERIOD_S = 0.2


@pytest.fixture
def make_arm(tmp_path):
    arms = []

    def make(kind, *options):
        arms.append(SimulatedArm(tmp_path / f"arm{len(arms)}.log", kind, *options))
        return arms[-1]

    yield make
    for arm in arms:
        arm.close()


class Bridge:
    """franka_bridge in a process of its own, and somebody who sends it chunks."""

    def __init__(self, graph, arm, **parameters):
        preset = graph.folder / "libfranka.yaml"
        preset.write_text("realtime: ignore\n")
        self.graph = graph
        self.process = graph.start(
            "franka_bridge",
            contract="fr3_franka",
            backend="libfranka",
            preset=str(preset),
            robot_ip=arm.address,
            confirmed_file=str(graph.folder / "confirmed.json"),
            **parameters,
        )
        self.statuses = graph.collect(RobotStatus, "franka_bridge/status", qos.STATUS)
        self.moves = 0  # control steps with motion
        graph.node.create_subscription(
            ExecutedAction, "executed_action", self._on_executed, qos.OBSERVATION
        )
        self.chunks = graph.publisher()
        self._count = itertools.count()
        self._actions = None
        graph.node.create_timer(CHUNK_PERIOD_S, self._send)

    @property
    def status(self):
        return self.statuses[-1] if self.statuses else RobotStatus()

    def steer(self, actions):
        """From now on send what `actions()` gives, (steps, 7); None: nothing."""
        self._actions = actions

    def reach(self, *states, also=lambda status: True):
        """Wait for a status in one of `states`; returns it."""
        seen = len(self.statuses)

        def found():
            return next((s for s in self.statuses[seen:] if s.state in states and also(s)), None)

        names = [name for name in dir(RobotStatus) if getattr(RobotStatus, name, None) in states]
        return self.graph.wait_until(found, f"{names}; last: {self.status}")

    def call(self, name):
        return self.graph.call(Trigger, f"franka_bridge/{name}", Trigger.Request())

    def _on_executed(self, message):
        self.moves += np.abs(np.asarray(message.action)[:6]).max() > 1e-3

    def _send(self):
        if self._actions is None:
            return
        actions = np.asarray(self._actions(), dtype=np.float32)
        message = ActionChunk(
            epoch=self.status.epoch,
            sequence=next(self._count),
            step_period=1 / 30,
            steps=len(actions),
            action_size=actions.shape[1],
            data=actions.ravel().tolist(),
        )
        message.header.stamp = self.graph.node.get_clock().now().to_msg()
        self.chunks.publish(message)


class Play:
    """Chunks that sway to and fro, with noise, and open and close the hand now and then."""

    def __init__(self, rng):
        self._rng = rng
        self._chunks = 0

    def __call__(self):
        self._chunks += 1
        actions = 0.2 * self._rng.standard_normal((CHUNK_STEPS, 7))
        actions[:, 1] += 0.25 if self._chunks // 8 % 2 else -0.25
        actions[:, 6] = 1.0 if self._chunks // 20 % 2 else -1.0
        return actions


@pytest.mark.timeout(400)
def test_skill_of_a_minute_is_streamed_held_and_ended_cleanly(graph, make_arm):
    bridge = Bridge(graph, make_arm("franky"))
    bridge.reach(RobotStatus.READY)
    poses = graph.collect(PoseStamped, "measured/ee_pose")
    joints = graph.collect(JointState, "measured/joint_states")
    bridge.steer(Play(np.random.default_rng(0)))
    bridge.reach(RobotStatus.MOVING)
    graph.wait_until(lambda: bridge.moves >= STREAM_STEPS, "minute of motion", 240.0)
    assert {s.state for s in bridge.statuses[-50:]} <= {RobotStatus.MOVING, RobotStatus.HOLDING}
    assert not any(s.errors or s.problems for s in bridge.statuses[-50:])
    widths = [sum(m.position[-2:]) for m in joints]
    assert min(widths) < 0.01
    assert max(widths) > 0.07

    bridge.steer(None)
    bridge.reach(RobotStatus.HOLDING)
    graph.wait_until(lambda: spread(poses[-30:]) < 1e-3, "rest")
    assert spread(poses) > 0.05

    bridge.process.send(signal.SIGINT)
    assert bridge.process.wait(30.0) == 0


def spread(poses):
    points = np.array([[p.pose.position.x, p.pose.position.y, p.pose.position.z] for p in poses])
    return float(np.ptp(points, axis=0).max()) if len(points) > 20 else np.inf


@pytest.mark.timeout(300)
def test_twenty_noisy_skills_run_without_a_reflex(make_arm, lowdim_contract):
    rng = np.random.default_rng(1)
    with Driver(make_arm("franka", "--joints", *HOME).address, lowdim_contract) as driver:
        driver.begin()
        for _ in range(SKILLS):
            aim = np.append(rng.uniform(-1, 1, 6), 1.0)
            for step in range(SKILL_STEPS):
                noise = np.append(rng.normal(0.0, 0.5, 6), 0.0)
                driver.drive(aim * np.sin(2 * np.pi * step / SKILL_STEPS) + noise)
            state = driver.backend.state()
            assert not state.errors
            assert not driver.backend.problems()
        assert driver.stream.counts.actions == SKILLS * SKILL_STEPS


def test_reflex_is_told_held_and_ended_by_request_only(graph, make_arm):
    arm = make_arm("franka", "--joints", *HOME)
    bridge = Bridge(graph, arm)
    bridge.reach(RobotStatus.READY)
    bridge.steer(Play(np.random.default_rng(2)))
    before = bridge.reach(RobotStatus.MOVING)

    arm.command("reflex")
    stopped = bridge.reach(RobotStatus.REFLEX)
    assert "cartesian_reflex" in stopped.errors
    seen = len(bridge.statuses)
    graph.wait_until(lambda: len(bridge.statuses) > seen + 10, "statuses")
    assert {s.state for s in bridge.statuses[seen:]} == {RobotStatus.REFLEX}

    assert bridge.call("recover").success
    again = bridge.reach(RobotStatus.MOVING)
    assert again.epoch > before.epoch
    assert not again.errors

    arm.command("user_stop")
    bridge.reach(RobotStatus.STOPPED, RobotStatus.REFLEX)
    arm.command("user_go")
    assert bridge.call("recover").success
    bridge.reach(RobotStatus.MOVING)


def test_dead_arm_is_told_comes_back_by_request_and_lets_the_node_end(graph, make_arm):
    arm = make_arm("franka", "--joints", *HOME)
    bridge = Bridge(graph, arm)
    bridge.reach(RobotStatus.READY)
    bridge.steer(Play(np.random.default_rng(3)))
    bridge.reach(RobotStatus.MOVING)
    arm.kill()
    stopped = bridge.reach(RobotStatus.STOPPED)
    assert "lost" in stopped.reason or "old" in stopped.reason  # of connection or state
    moved = bridge.moves
    seen = len(bridge.statuses)
    graph.wait_until(lambda: len(bridge.statuses) > seen + 10, "statuses")
    assert bridge.moves <= moved + 1

    again = make_arm("franka", "--joints", *HOME, "--address", arm.address)
    assert bridge.call("recover").success
    bridge.reach(RobotStatus.MOVING)
    again.kill()
    bridge.reach(RobotStatus.STOPPED)
    bridge.process.send(signal.SIGINT)
    assert bridge.process.wait(30.0) == 0


def test_start_at_a_singular_pose_is_refused_until_home(graph, make_arm):
    bridge = Bridge(graph, make_arm("franka", "--joints", *SINGULAR))
    refused = bridge.reach(RobotStatus.GATED, also=lambda status: status.problems)
    assert "singular" in " ".join(refused.problems)
    for _ in range(4):  # a machine that is busy lets the arm's state grow old on the way
        assert bridge.call("home").success
        bridge.reach(RobotStatus.HOMING)
        ended = bridge.reach(RobotStatus.READY, RobotStatus.STOPPED)
        if ended.state == RobotStatus.READY:
            break
        assert "state is" in ended.reason, ended
        assert bridge.call("recover").success
        bridge.reach(RobotStatus.GATED, RobotStatus.READY)
    assert bridge.status.state == RobotStatus.READY


def test_hand_obeys_the_newest_command(make_arm, lowdim_contract):
    with Driver(make_arm("franky").address, lowdim_contract) as driver:
        hand = driver.backend

        def width():
            return hand.state().gripper_width

        hand.gripper(GripperCommand.CLOSE)
        driver.until(lambda: width() < 0.005, "closed hand")
        hand.gripper(GripperCommand.OPEN)
        driver.until(lambda: width() > 0.02, "opening hand")
        hand.gripper(GripperCommand.CLOSE)  # while it still opens
        driver.until(lambda: width() < 0.005, "closed hand")
        assert not hand.problems()


def test_home_ends_on_the_way_when_the_job_is_cancelled(make_arm, lowdim_contract):
    with Driver(make_arm("franky").address, lowdim_contract) as driver:
        start = driver.backend.state().joints
        goal = start + np.array([1.5, 0, 0, 0, 0, 0, 0])
        job = driver.backend.home(goal, 60.0)
        driver.until(lambda: driver.backend.state().joints[0] > start[0] + 0.05, "motion")
        job.cancel()
        driver.until(lambda: driver.backend.state().robot_mode == 1, "rest")
        assert driver.backend.state().joints[0] < goal[0] - 0.1
        assert driver.backend.home(start, 30.0).result(60.0) == ""
        assert np.abs(driver.backend.state().joints - start).max() < 0.05
