# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Starting and ending nodes: environment, signals, exit codes, settings that cannot be used."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
import yaml
from diwa_msgs.msg import ExecutedAction
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, ListParameters

from diwa_ros import processes
from diwa_ros.processes import NodeProcess, node_environment

CONTRACT = "panda_calvin_lowdim"
NODES = {
    "calvin_bridge": {"contract": CONTRACT},
    "play_recorder": {"contract": CONTRACT},
    "policy_server": {"autostart": False},
    "trainer": {},
    "teleop": {"contract": CONTRACT},
    "evaluation_client": {"contract": CONTRACT},
}


def wait_for_parameters(graph, name):
    """Names of a node's own parameters, once it answers."""
    answer = graph.call(ListParameters, f"{name}/list_parameters", ListParameters.Request())
    return [n for n in answer.result.names if not n.startswith(("use_sim_time", "start_type"))]


@pytest.mark.parametrize("node", NODES)
def test_node_ends_with_exit_code_zero_on_a_double_sigint(graph, node):
    process = graph.start(node, **NODES[node])
    graph.wait_until(
        lambda: node in [name for name, _ in graph.node.get_node_names_and_namespaces()], node
    )
    process.send(signal.SIGINT)
    process.send(signal.SIGINT)
    assert process.wait(20) == 0, process.log_text()
    assert "Traceback" not in process.log_text()


@pytest.mark.parametrize("node", NODES)
def test_parameters_are_described(graph, node):
    graph.start(node, **NODES[node])
    names = wait_for_parameters(graph, node)
    request = DescribeParameters.Request(names=names)
    answer = graph.call(DescribeParameters, f"{node}/describe_parameters", request)
    assert names
    for descriptor in answer.descriptors:
        assert descriptor.description, descriptor.name
        numbers = (ParameterType.PARAMETER_DOUBLE, ParameterType.PARAMETER_INTEGER)
        if descriptor.type in numbers:
            assert descriptor.floating_point_range or descriptor.integer_range, descriptor.name


def test_other_middleware_in_the_environment_is_dropped(graph, monkeypatch):
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    graph.start("calvin_bridge", contract=CONTRACT, real_time_factor=1.0)
    executed = graph.collect(ExecutedAction, "executed_action")
    graph.wait_until(lambda: executed, "executed action")


def test_environment_keeps_discovery_on_this_machine_unless_the_user_says(tmp_path):
    assert node_environment(tmp_path, {})["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    chosen = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_LOG_DIR": "/somewhere"}
    assert node_environment(tmp_path, chosen).items() >= chosen.items()
    older = node_environment(tmp_path, {"ROS_LOCALHOST_ONLY": "0"})
    assert "ROS_AUTOMATIC_DISCOVERY_RANGE" not in older


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"contract": "no_such_contract"}, "panda_calvin_lowdim"),
        ({"real_time_factor": -1.0}, "real_time_factor"),
        ({"real_time_factor": 1}, "with a point"),
    ],
)
def test_setting_that_cannot_be_used_ends_the_node_and_says_why(graph, parameters, said):
    process = graph.start("calvin_bridge", **{"contract": CONTRACT, **parameters})
    assert process.wait(30) == 2
    assert said in process.log_text()
    assert "Traceback" not in process.log_text()


def test_process_that_ignores_signals_is_killed(tmp_path, monkeypatch):
    code = "import signal,sys,time\nfor s in (2,15): signal.signal(s, signal.SIG_IGN)\n"
    package = tmp_path / "diwa_ros"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "deaf.py").write_text(code + "print('deaf', flush=True)\ntime.sleep(600)\n")
    monkeypatch.setattr(processes, "SOURCE_PATH", tmp_path)
    with NodeProcess("deaf", {}, tmp_path) as process:
        deadline = time.monotonic() + 30
        while "deaf" not in process.log_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.stop(grace_s=0.2) == -signal.SIGKILL


def test_keyboard_moves_the_arm(graph, tmp_path):
    graph.start("calvin_bridge", contract=CONTRACT, real_time_factor=0.0)
    executed = graph.collect(ExecutedAction, "executed_action")
    settings = tmp_path / "teleop.yaml"
    parameters = {"mode": "keyboard", "contract": CONTRACT, "record": False, "speed": 0.5}
    settings.write_text(yaml.safe_dump({"/**": {"ros__parameters": parameters}}))
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "diwa_ros.teleop", "--ros-args"]
    teleop = subprocess.Popen(
        [*command, "--params-file", str(settings)],
        stdin=slave,
        stdout=subprocess.PIPE,
        env=node_environment(tmp_path),
        start_new_session=True,
    )
    try:
        assert teleop.stdout is not None
        graph.wait_until(lambda: b"quit" in teleop.stdout.readline(), "help")

        def press(key):
            os.write(master, key)
            return any(m.action[0] > 0 and m.action[6] < 0 for m in executed)

        os.write(master, b" ")  # close
        graph.wait_until(lambda: press(b"d"), "motion along x with the gripper closed")
        assert max(m.action[0] for m in executed) == pytest.approx(0.5)
        os.write(master, b"q")
        assert teleop.wait(20) == 0
    finally:
        teleop.kill()
        teleop.communicate()
        os.close(master)
        os.close(slave)


def test_keyboard_needs_a_terminal(graph):
    teleop = graph.start("teleop", contract=CONTRACT, mode="keyboard", record=False)
    assert teleop.wait(30) == 2
    assert "terminal of its own" in teleop.log_text()


@pytest.mark.parametrize(
    ("node", "setting"),
    [
        ("calvin_bridge", "seed:=-1"),
        ("play_recorder", "contract:=no_such_contract"),
        ("policy_server", "threads:=0"),
        ("teleop", "mode:=dance"),
        ("trainer", "save_timeout_s:=-1.0"),
        ("evaluation_client", "episodes:=0"),
    ],
)
def test_program_that_launch_starts_runs_the_node(root, tmp_path, ros_domain, node, setting):
    program = root / "src" / "diwa_ros" / "scripts" / node
    environment = node_environment(tmp_path)
    environment["PATH"] = f"{sys.prefix}/bin{os.pathsep}{environment['PATH']}"
    result = subprocess.run(
        [program, "--ros-args", "-p", setting],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2, result.stderr
    assert setting.split(":")[0] in result.stderr or "no_such_contract" in result.stderr
