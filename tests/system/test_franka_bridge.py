# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The bridge to an arm over real DDS, with controllers that are not there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from diwa_msgs.msg import RobotStatus
from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String

from diwa.control.kinematics import franka_chain
from diwa.data.contract import load_contract
from diwa_ros import qos
from diwa_ros.arm_conversions import pose_array
from diwa_ros.conversions import time_ns
from diwa_ros.robot_contract import TOPIC, read_contract
from system.arm_graph import CONFIG, PATIENT, ArmGraph
from system.fake_controllers import START

TYPES = {"pose": "geometry_msgs/msg/PoseStamped", "twist": "geometry_msgs/msg/TwistStamped"}
TARGETS = {
    "crisp": "/target_pose",
    "franka_ros2_equilibrium": "/cartesian_impedance_example_controller/equilibrium_pose",
    "serl": "/cartesian_impedance_controller/equilibrium_pose",
    "fzi": "/cartesian_compliance_controller/target_frame",
    "servo_pose": "/servo_node/pose_target_cmds",
    "servo_twist": "/servo_node/delta_twist_cmds",
}
SPEED = 0.2 * 0.02 * 30  # [m/s] of the action that `ArmGraph.move` sends


@pytest.fixture
def arm(graph):
    graphs = []

    def make(*arguments, **options):
        graphs.append(ArmGraph(graph, *arguments, **options))
        return graphs[-1]

    yield make
    for it in graphs:
        it.close()


@pytest.mark.parametrize("preset", TARGETS)
def test_preset_gets_what_its_controller_wants(graph, arm, preset):
    robot = arm(preset).ready()
    target = robot.preset.target
    robot.controllers.targets.clear()
    robot.controllers.twists.clear()
    executed = robot.move(45)
    messages = [message for _, message in robot.controllers.targets]

    publisher = graph.node.get_publishers_info_by_topic(TARGETS[preset])
    assert [info.topic_type for info in publisher] == [TYPES[target.kind]]
    assert publisher[0].qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert publisher[0].qos_profile.durability == DurabilityPolicy.VOLATILE
    assert {message.header.frame_id for message in messages} == {"fr3_link0"}
    stamps = np.array([time_ns(message.header.stamp) for message in messages])
    assert (np.diff(stamps) > 0).all()
    assert np.median(np.diff(stamps)) <= 0.02e9, "less than 50 targets per second"
    moved = sum(it.action[0] for it in executed) * 0.02
    assert moved > 0.1
    if target.kind == "pose":
        poses = np.array([pose_array(message.pose) for message in messages])
        assert poses[-1][0] - START[0] == pytest.approx(moved, abs=0.01)
        fastest = 0.25 * np.diff(stamps) / 1e9 + 1e-3  # on the way, stamps and messages can be lost
        assert (np.abs(np.diff(poses[:, 0])) <= fastest).all()
    else:
        goal = START[0] + moved  # what a slow machine is behind is made up for
        graph.wait_until(lambda: abs(robot.controllers.pose[0] - goal) < 0.03, "arm at its goal")
    if target.kind == "twist" or target.twist_topic:
        twists = messages if target.kind == "twist" else [it for _, it in robot.controllers.twists]
        speeds = np.array([twist.twist.linear.x for twist in twists])
        assert speeds.max() <= 0.25
        assert np.median(speeds[speeds > 0.01]) == pytest.approx(SPEED, rel=0.1)


def test_joint_targets_lead_where_the_poses_would(graph, arm):
    robot = arm("gello", backend="joint_target").ready()
    robot.controllers.targets.clear()
    moved = sum(it.action[0] for it in robot.move(30)) * 0.02
    messages = [message for _, message in robot.controllers.targets]
    assert [*messages[0].name] == [f"fr3_joint{index}" for index in range(1, 8)]
    joints = np.array([message.position for message in messages])
    tcp = np.array([franka_chain(row).flange for row in joints])
    assert tcp[-1][0] - tcp[0][0] == pytest.approx(moved, abs=0.01)
    np.testing.assert_allclose(tcp[:, 1:], np.broadcast_to(tcp[0, 1:], tcp[:, 1:].shape), atol=1e-3)
    stamps = np.array([time_ns(message.header.stamp) for message in messages])
    assert np.median(np.diff(stamps)) <= 0.02e9


def test_observations_share_one_stamp_and_follow_the_contract(graph, arm):
    robot = arm(contract=str(CONFIG / "contracts" / "fr3_franka.yaml"))
    contracts = graph.collect(String, TOPIC, qos.LATCHED)
    joints = graph.collect(JointState, "measured/joint_states")
    robot.ready()
    robot.move(10)
    contract = load_contract(CONFIG / "contracts" / "fr3_franka.yaml")
    assert read_contract(contracts[-1]) == contract
    executed = {time_ns(it.header.stamp) for it in robot.executed}
    poses = {time_ns(it.header.stamp) for it in robot.poses}
    assert len(poses & executed) > 0.9 * len(poses)
    assert tuple(joints[-1].name) == contract.observations["joint_states"].names
    assert joints[-1].position[7:].tolist() == pytest.approx([0.04, 0.04])
    assert robot.poses[-1].header.frame_id == "fr3_link0"


def test_second_publisher_stops_the_stream_until_it_is_gone(graph, arm):
    robot = arm().ready()
    robot.move(5)
    intruder = graph.node.create_publisher(PoseStamped, "target_pose", 1)
    status = robot.until(RobotStatus.STOPPED, "other node")
    assert status.command_rate >= 0
    robot.fresh(3)
    robot.controllers.targets.clear()
    robot.fresh(15)
    assert not robot.controllers.targets
    assert robot.ask("recover").success
    graph.wait_until(
        lambda: (
            robot.status.state == RobotStatus.GATED
            and any("2 nodes" in problem for problem in robot.status.problems)
        ),
        "gate shut by the second node",
    )
    graph.node.destroy_publisher(intruder)
    robot.ready()
    assert robot.status.epoch == 1
    robot.move(5)


def test_wrong_frame_keeps_the_gate_shut_and_stops_a_moving_arm(graph, arm):
    robot = arm().ready()
    robot.controllers.frame_id = "world"
    robot.until(RobotStatus.STOPPED)
    robot.ask("recover")
    graph.wait_until(
        lambda: any("in frame world" in problem for problem in robot.status.problems), "problem"
    )
    robot.controllers.frame_id = "fr3_link0"
    robot.ready()


def test_without_controllers_the_gate_says_what_is_missing(graph, arm):
    robot = arm(controllers=False)
    graph.wait_until(lambda: robot.status and robot.status.problems, "problems")
    text = " ".join(robot.status.problems)
    assert "nobody publishes /current_pose" in text
    assert "nobody listens to /target_pose" in text
    graph.wait_until(
        lambda: "franka_msgs is not installed: the arm's mode" in robot.process.log_text(),
        "note about what is off",
    )


def test_new_checkpoint_is_slow_until_confirmed_and_stays_confirmed(graph, arm):
    robot = arm().ready()
    slow = robot.move(30, source="abc")
    assert robot.until(RobotStatus.MOVING, "new here").speed_scale == 0.25
    assert robot.ask("confirm").success
    fast = robot.move(30, source="abc")
    graph.wait_until(lambda: robot.status.confirmed, "confirmed")
    assert json.loads((graph.folder / "confirmed.json").read_text()) == {"fr3": ["abc"]}
    # The last action has reached its speed in both.
    assert slow[-1].action[0] == pytest.approx(0.25 * fast[-1].action[0], rel=0.05)


def test_emergency_stop_and_dead_mans_switch(graph, arm):
    robot = arm(require_enable=True, limits={"guard": {**PATIENT["guard"], "enable_age": 5.0}})
    enable = graph.node.create_publisher(Bool, "enable", qos_profile_sensor_data)
    estop = graph.node.create_publisher(Bool, "estop", qos.COMMAND)
    graph.wait_until(lambda: robot.status and robot.status.state == RobotStatus.HOLDING, "holding")
    assert "dead-man" in robot.status.reason
    timer = graph.node.create_timer(0.05, lambda: enable.publish(Bool(data=True)))
    robot.ready()
    robot.move(5)
    estop.publish(Bool(data=True))
    robot.until(RobotStatus.STOPPED, "emergency stop")
    assert not robot.ask("recover").success
    estop.publish(Bool(data=False))
    graph.wait_until(lambda: robot.ask("recover").success, "recovery")
    robot.ready()
    timer.cancel()
    enable.publish(Bool(data=False))
    robot.until(RobotStatus.HOLDING, "dead-man")


def test_home_leads_to_the_start_and_the_gripper_is_told(graph, arm):
    start = START + np.array([0.0, 0.08, 0, 0, 0, 0, 0])
    poses = graph.folder / "start.yaml"
    poses.write_text(yaml.safe_dump({"poses": [start.tolist()]}))
    gripper = {"kind": "position", "prefix": "hand"}
    commands = graph.collect(Float64MultiArray, "hand/commands")
    robot = arm(start_poses=str(poses), gripper=gripper)
    graph.wait_until(
        lambda: robot.status and any("start pose" in it for it in robot.status.problems), "gate"
    )
    assert robot.ask("home").success
    robot.ready()
    assert np.linalg.norm(robot.controllers.pose[:3] - start[:3]) < 2e-3
    robot.move(20, action=(0, 0, 0, 0, 0, 0, -1))
    graph.wait_until(lambda: commands, "command for the gripper")
    assert [command.data.tolist() for command in commands] == [[0.0]]


def test_killed_bridge_leaves_the_last_target_where_the_arm_is(graph, arm):
    robot = arm().ready()
    robot.send(np.tile((0.5, 0, 0, 0, 0, 0, 1), (90, 1)))
    robot.fresh(20)
    assert robot.process.stop() == 0
    last = robot.controllers.targets[-1][1]
    robot.graph.settle()
    assert robot.controllers.targets[-1][1] is last
    assert "Traceback" not in robot.process.log_text()
