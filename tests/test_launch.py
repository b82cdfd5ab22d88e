# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What every launch file starts, evaluated without starting it."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
import yaml

import play_launch

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILES = sorted(path.name for path in (ROOT / "launch").glob("*.launch.py"))
SETTINGS = ROOT / "config" / "nodes"
SCRIPTS = ROOT / "src" / "diwa_ros" / "scripts"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    try:
        play_launch.build_shim()
    except play_launch.Unavailable as error:
        pytest.skip(str(error))
    return play_launch.make_prefix(tmp_path_factory.mktemp("prefix"))


def executables(nodes):
    return {name: node["exec"] for name, node in nodes.items()}


def test_simulate_starts_the_bridge_with_typed_parameters(prefix):
    nodes = play_launch.dump("simulate.launch.py", prefix, real_time_factor="0.0", cameras="false")
    assert executables(nodes) == {"/calvin_bridge": "calvin_bridge"}
    assert nodes["/calvin_bridge"]["params"] == {
        "contract": "panda_calvin",
        "real_time_factor": 0.0,
        "cameras": False,
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"/calvin_bridge", "/play_recorder", "/teleop"}),
        ({"simulate": "false"}, {"/play_recorder"}),  # no script on a real arm unasked
        ({"simulate": "false", "scripted": "true"}, {"/play_recorder", "/teleop"}),
        ({"scripted": "false"}, {"/calvin_bridge", "/play_recorder"}),
        ({"namespace": "/left"}, {"/left/calvin_bridge", "/left/play_recorder", "/left/teleop"}),
    ],
)
def test_collect_starts_what_is_asked_for(prefix, arguments, expected):
    nodes = play_launch.dump("collect.launch.py", prefix, **arguments)
    assert set(nodes) == expected
    assert nodes[next(name for name in nodes if "recorder" in name)]["lifecycle"]


def test_collect_hands_arguments_to_the_nodes(prefix):
    nodes = play_launch.dump(
        "collect.launch.py",
        prefix,
        mode="demos",
        task="open_drawer",
        episodes="7",
        folder="/data/bags",
        contract="panda_calvin_lowdim",
    )
    teleop = nodes["/teleop"]["params"]
    assert (teleop["mode"], teleop["task"], teleop["episodes"]) == ("demos", "open_drawer", 7)
    assert nodes["/teleop"]["on_exit"] == "shutdown"
    assert nodes["/play_recorder"]["params"]["folder"] == "/data/bags"
    assert {node["params"]["contract"] for node in nodes.values()} == {"panda_calvin_lowdim"}


def test_deploy_serves_a_checkpoint_with_the_simulation_on_request(prefix):
    nodes = play_launch.dump("deploy.launch.py", prefix, checkpoint="/c", skill="open_drawer")
    assert executables(nodes) == {"/policy_server": "policy_server"}
    assert nodes["/policy_server"]["params"] == {"checkpoint": "/c", "skill": "open_drawer"}
    assert nodes["/policy_server"]["lifecycle"]
    simulated = play_launch.dump("deploy.launch.py", prefix, checkpoint="/c", simulate="true")
    assert set(simulated) == {"/policy_server", "/calvin_bridge"}


def test_deploy_starts_the_bridge_to_an_arm_on_request(prefix):
    arguments = {"robot": "franka", "robot_type": "panda", "preset": "serl", "start_poses": "/d"}
    nodes = play_launch.dump("deploy.launch.py", prefix, checkpoint="/c", **arguments)
    assert executables(nodes) == {
        "/policy_server": "policy_server",
        "/franka_bridge": "franka_bridge",
    }
    assert nodes["/franka_bridge"]["lifecycle"]
    assert nodes["/franka_bridge"]["params"] == {
        "contract": "panda_franka",
        "robot": "panda",
        "backend": "pose_target",
        "preset": "serl",
        "robot_ip": "",
        "start_poses": "/d",
    }


def test_deploy_knows_the_simulation_as_a_robot(prefix):
    nodes = play_launch.dump("deploy.launch.py", prefix, checkpoint="/c", robot="simulation")
    assert set(nodes) == {"/policy_server", "/calvin_bridge"}


def test_deploy_needs_a_checkpoint(prefix):
    with pytest.raises(ValueError, match="checkpoint"):
        play_launch.dump("deploy.launch.py", prefix)


def test_train_starts_the_trainer(prefix):
    nodes = play_launch.dump("train.launch.py", prefix)
    assert executables(nodes) == {"/trainer": "trainer"}


def test_evaluate_ends_with_its_client(prefix):
    nodes = play_launch.dump("evaluate.launch.py", prefix, checkpoint="/c", episodes="3")
    assert set(nodes) == {"/calvin_bridge", "/policy_server", "/evaluation_client"}
    assert nodes["/evaluation_client"]["params"]["episodes"] == 3
    assert nodes["/evaluation_client"]["on_exit"] == "shutdown"
    assert nodes["/policy_server"]["params"]["checkpoint"] == "/c"


def test_evaluate_runs_blind_trials_on_request(prefix):
    asked = {"trials": "true", "base": "/old", "episodes": "3", "folder": "/f"}
    nodes = play_launch.dump("evaluate.launch.py", prefix, checkpoint="/new", **asked)
    assert set(nodes) == {"/calvin_bridge", "/trials"}  # which starts its own policy servers
    parameters = nodes["/trials"]["params"]
    assert (parameters["base"], parameters["adapted"]) == ("/old", "/new")
    assert (parameters["pairs"], parameters["folder"]) == (3, "/f")
    assert nodes["/trials"]["on_exit"] == "shutdown"


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_launch_file_gives_every_node_a_program_and_settings(prefix, name):
    nodes = play_launch.dump(name, prefix, **({} if _starts_alone(name) else {"checkpoint": "/c"}))
    assert nodes
    for node in nodes.values():
        assert node["pkg"] == "diwa_ros"
        assert os.access(SCRIPTS / node["exec"], os.X_OK)
        assert node["params_files"], "the file named in the launch file was not found"
        for text in node["params_files"]:
            assert yaml.safe_load(text) == yaml.safe_load(
                (SETTINGS / f"{node['exec']}.yaml").read_text()
            )


def _starts_alone(name):
    return name not in ("deploy.launch.py", "evaluate.launch.py")


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_launch_arguments_are_described(name):
    tree = ast.parse((ROOT / "launch" / name).read_text())
    declared = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "DeclareLaunchArgument"
    ]
    assert declared
    for call in declared:
        assert "description" in {keyword.arg for keyword in call.keywords}


@pytest.mark.parametrize("path", sorted(SETTINGS.glob("*.yaml")), ids=lambda path: path.name)
def test_settings_match_under_any_namespace(path):
    content = yaml.safe_load(path.read_text())
    assert list(content) == ["/**"]
    assert list(content["/**"]) == ["ros__parameters"]
