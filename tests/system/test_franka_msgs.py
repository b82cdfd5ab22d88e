# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the bridge can do where franka_msgs is installed, with a stand-in for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from diwa_msgs.msg import RobotStatus
from std_msgs.msg import String

from diwa.control.arm import MOVE, REFLEX
from diwa_ros import qos
from system.arm_graph import ArmGraph
from system.franka_standin import standin_environment

pytestmark = pytest.mark.timeout(1200)  # the stand-in may have to be compiled, on a slow machine


@pytest.fixture(scope="module")
def environment():
    try:
        return standin_environment()
    except subprocess.SubprocessError as error:
        reason = str(getattr(error, "stderr", None) or error)[-500:]
        pytest.skip(f"the stand-in for franka_msgs cannot be compiled: {reason}")


@pytest.fixture
def franka(request, graph, tmp_path, environment):
    """A driver with franka_msgs, and a bridge that finds them, too.

    The parameter names errors that the arm has from the beginning.
    """
    errors = getattr(request, "param", "")
    with (tmp_path / "fake_franka.log").open("wb") as log:
        driver = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fake_franka.py")), errors],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    robot = ArmGraph(graph, gripper={"kind": "franka", "prefix": "hand"}, environment=environment)
    yield robot
    robot.close()
    os.killpg(driver.pid, signal.SIGINT)
    try:
        driver.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()


def test_gripper_actions_have_the_configured_prefix_and_go_out_at_changes(graph, franka):
    asked = graph.collect(String, "fake/asked", qos.EVENT)
    franka.ready()
    assert franka.status.robot_mode == MOVE
    assert "franka_msgs is not installed" not in franka.process.log_text()
    franka.move(40, action=(0, 0, 0, 0, 0, 0, -1))
    graph.wait_until(lambda: any("grasp" in it.data for it in asked), "grasp")
    franka.move(40, action=(0, 0, 0, 0, 0, 0, 1))
    graph.wait_until(lambda: any("move" in it.data for it in asked), "opening")
    goals = [it.data for it in asked if it.data.startswith(("grasp", "move"))]
    assert goals == ["grasp 0 20 0.08", "move 0.08 0.1"]


def test_collision_thresholds_are_those_of_the_robots_file(graph, franka):
    asked = graph.collect(String, "fake/asked", qos.EVENT)
    graph.wait_until(lambda: any("thresholds" in it.data for it in asked), "thresholds")
    assert next(it.data for it in asked) == "thresholds [40.0] [40.0]"


def test_reflex_is_named_and_cleared_by_recovery_only(graph, franka):
    asked = graph.collect(String, "fake/asked", qos.EVENT)
    errors = graph.node.create_publisher(String, "fake/errors", qos.LATCHED)
    franka.ready()
    franka.move(5)
    errors.publish(String(data="cartesian_reflex"))
    status = franka.until(RobotStatus.REFLEX, "cartesian_reflex")
    assert (list(status.errors), status.robot_mode) == (["cartesian_reflex"], REFLEX)
    franka.fresh(3)
    franka.controllers.targets.clear()
    franka.fresh(20)
    assert not franka.controllers.targets
    assert franka.ask("recover").success
    franka.ready()
    assert [it.data for it in asked].count("recover") == 1
    assert franka.status.epoch == 1
    franka.move(5)


@pytest.mark.parametrize("franka", ["joint_reflex"], indirect=True)
def test_gate_is_shut_while_the_gripper_or_the_arm_is_not_ready(graph, franka):
    errors = graph.node.create_publisher(String, "fake/errors", qos.LATCHED)
    graph.wait_until(
        lambda: franka.status and any("joint_reflex" in it for it in franka.status.problems),
        "gate shut by an error",
    )
    errors.publish(String(data=""))
    franka.ready()
