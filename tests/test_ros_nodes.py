# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of the nodes that need no other process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn

from diwa.errors import ConfigError
from diwa.sim.play_table import PlayTableEnv
from diwa_ros import hand_driving as wish
from diwa_ros import keyboard, lifecycle, paths
from diwa_ros.observing import robot_observation
from diwa_ros.processes import node_environment
from diwa_ros.table import Table
from diwa_ros.worker import Worker

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@pytest.fixture
def ros(ros_domain):
    rclpy.init(domain_id=ros_domain)
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="module")
def env():
    env = PlayTableEnv()
    yield env
    env.close()


class FailingNode(lifecycle.LifecycleNode):
    """Keeps a diary; one hook fails."""

    def __init__(self, failing=""):
        self.diary = []
        self.failing = failing
        super().__init__("failing")

    def _note(self, hook):
        self.diary.append(hook)
        if hook == self.failing:
            raise RuntimeError(f"{hook} is broken")

    def load(self):
        self._note("load")

    def start(self):
        self._note("start")

    def stop(self):
        self._note("stop")

    def release(self):
        self._note("release")


def test_lifecycle_calls_the_hooks_in_order(ros):
    node = FailingNode()
    node.bring_up()
    assert node.trigger_deactivate() is SUCCESS
    assert node.trigger_cleanup() is SUCCESS
    assert node.diary == ["load", "start", "stop", "release"]
    node.destroy_node()


@pytest.mark.parametrize(
    ("failing", "diary"), [("load", ["load", "release"]), ("start", ["load", "start", "stop"])]
)
def test_failing_transition_is_logged_and_undone(ros, capfd, failing, diary):
    node = FailingNode(failing)
    with pytest.raises(ConfigError, match="failing did not start"):
        node.bring_up()
    assert node.diary == diary
    assert f"RuntimeError: {failing} is broken" in capfd.readouterr().err
    node.destroy_node()


INTERRUPTED = """
import os, signal, sys, time
from diwa.errors import ConfigError
from diwa_ros.lifecycle import LifecycleNode
from diwa_ros.running import run_node
from std_msgs.msg import Bool

class Interrupted(LifecycleNode):
    def __init__(self):
        super().__init__("interrupted")

    def interrupt(self):
        os.kill(os.getpid(), signal.SIGINT)
        while self.context.ok():
            time.sleep(0.01)
        self.create_subscription(Bool, "late", print, 1)

    def start(self):
        raise ConfigError("not today")  # so it is stopped

setattr(Interrupted, sys.argv.pop(), Interrupted.interrupt)
sys.exit(run_node(Interrupted))
"""


@pytest.mark.parametrize("hook", ["load", "start", "stop"])
def test_signal_while_a_node_is_brought_up_leaves_no_traceback(tmp_path, ros_domain, hook):
    """What fails because of it is no failure; what fails to stop is one all the same."""
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, hook],
        env=node_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert ("Traceback" in result.stderr) == (hook == "stop"), result.stderr
    assert ("told to stop" in result.stderr) == (hook != "stop"), result.stderr


def test_destroying_an_active_node_stops_it_even_if_stopping_fails(ros):
    node = FailingNode("stop")
    node.bring_up()
    node.destroy_node()
    assert node.diary == ["load", "start", "stop", "release"]


def test_worker_runs_jobs_in_order_and_survives_errors():
    done, errors = [], []
    worker = Worker(errors.append)
    worker.submit(done.append, 1)
    worker.submit(int, "no number")
    worker.submit(done.append, 2)
    worker.stop()
    assert done == [1, 2]
    assert len(errors) == 1 and "ValueError" in errors[0]


def test_table_advances_time_and_epochs_only_forward(env, lowdim_contract):
    table = Table(env, lowdim_contract, seed=0)
    period = lowdim_contract.period_ns
    start = table.stamp_ns
    executed = table.step(np.array([1, 0, 0, 0, 0, 0, 1], dtype=np.float32))
    assert (executed.stamp_ns, table.stamp_ns) == (start, start + period)
    table.reset(3, {"task": "open_drawer"})
    assert (table.epoch, table.stamp_ns) == (1, start + 2 * period)
    table.reset(3, {})
    assert (table.epoch, table.stamp_ns, table.steps) == (2, start + 3 * period, 1)


def test_table_keeps_the_episode_when_a_reset_is_refused(env, lowdim_contract):
    table = Table(env, lowdim_contract, seed=0)
    before = (table.epoch, table.stamp_ns)
    with pytest.raises(ConfigError):
        table.reset(0, {"task": "fly"})
    assert (table.epoch, table.stamp_ns) == before


def test_table_holds_with_the_last_gripper_command(env, lowdim_contract):
    table = Table(env, lowdim_contract, seed=0)
    assert table.step(None).safe.action.tolist() == [0, 0, 0, 0, 0, 0, 1]
    table.step(np.array([0, 0, 0, 0, 0, 0, -1], dtype=np.float32))
    held = table.step(None)
    assert held.held
    assert held.safe.action.tolist() == [0, 0, 0, 0, 0, 0, -1]


def test_table_holds_the_gripper_that_an_episode_starts_with(env, lowdim_contract):
    table = Table(env, lowdim_contract, seed=0)
    for seed in range(20):
        table.reset(seed, {"task": "open_drawer"})
        assert table.step(None).safe.action[6] == table.observation["robot_obs"][14]


def test_robot_observation_equals_the_simulators(env):
    observation, _ = env.reset(seed=2, options={"task": "close_drawer"})
    made = robot_observation(env.tcp_pose, env.joint_positions, None)
    assert np.array_equal(made, observation["robot_obs"])
    assert robot_observation(env.tcp_pose, env.joint_positions, -1.0)[14] == -1.0


def test_keys_count_as_held_for_a_moment():
    keys = keyboard.Keys(speed=0.5)
    assert keys.action(0.0) is None
    assert keys.press("w", 1.0) and keys.press("r", 1.0)
    assert keys.action(1.1).tolist() == [0, 0.5, 0.5, 0, 0, 0, 1]
    assert keys.action(1.2) is None
    assert keys.press(" ", 2.0)
    assert keys.action(2.0).tolist() == [0, 0, 0, 0, 0, 0, -1]
    assert not keys.press("1", 2.0)


def test_every_key_is_explained():
    special = (wish.START, *wish.ENDS, wish.RESET, wish.RECOVER, wish.QUIT)
    for key in (*keyboard.MOTIONS, *special):
        assert key in keyboard.HELP


def test_contract_is_found_by_name_and_by_path(root):
    packaged = root / "config" / "contracts" / "panda_calvin.yaml"
    assert paths.find_contract("panda_calvin") == packaged
    assert paths.find_contract(str(packaged)) == packaged
    with pytest.raises(ConfigError, match="panda_calvin_lowdim"):
        paths.find_contract("panda")
