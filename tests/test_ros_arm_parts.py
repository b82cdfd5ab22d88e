# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The parts of the bridge to an arm that need no graph."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import Pose, Wrench
from sensor_msgs.msg import JointState

from diwa.control.poses import (
    make_pose,
    quaternion_from_euler,
    rotated,
    rotation_6d_from_quaternion,
)
from diwa.control.robots import load_robot
from diwa.control.start_poses import load_start_poses, quaternion_from_columns
from diwa.control.targets import Target
from diwa.control.twists import tracking_twist
from diwa.data.contract import load_contract
from diwa.errors import ConfigError
from diwa_ros.arm_conversions import (
    error_names,
    fill_joint_target,
    fill_twist,
    make_twist,
    named_values,
    pose_array,
    wrench_array,
)
from diwa_ros.backends.presets import Preset, load_preset
from diwa_ros.confirmed import ConfirmedSources
from diwa_ros.conversions import make_joints
from diwa_ros.ticks import Ticks
from fake_arm import CONTRACT, START
from made_up_robot import robot_dataset

PRESETS = sorted((Path(__file__).resolve().parents[1] / "config" / "backends").glob("*.yaml"))
MOTION = load_robot("fr3").motion


@pytest.mark.parametrize("arm", ["fr3", "panda"])
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_that_we_ship_fit_the_contracts_that_we_ship(path, arm):
    if path.stem == "libfranka":
        pytest.skip("has settings of its own")
    preset = load_preset(path, arm)
    contract = load_contract(CONTRACT.with_name(f"{arm}_franka.yaml"))
    assert preset.state.frame_id == contract.observations["ee_pose"].frame_id
    names = preset.state.joint_names + preset.gripper.finger_names
    assert names == contract.observations["joint_states"].names
    assert "{arm}" not in str(preset.model_dump())


def test_preset_with_an_unknown_key_is_refused(tmp_path):
    path = tmp_path / "lab.yaml"
    path.write_text("target: {topic: t, kind: pose, frame: base}")
    with pytest.raises(ConfigError, match=r"target\.frame"):
        load_preset(path, "fr3")


def test_joint_values_are_taken_by_name():
    message = JointState(name=["b", "x", "a"], position=[2.0, 9.0, 1.0], velocity=[0.2, 0.9, 0.1])
    assert named_values(message, ["a", "b"]).tolist() == [1.0, 2.0]
    assert named_values(message, ["a", "b"], "velocity").tolist() == [0.1, 0.2]
    assert named_values(message, ["a", "c"]) is None
    assert named_values(message, ["a"], "effort") is None


def test_poses_wrenches_and_twists_keep_their_numbers():
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = 1.0, 2.0, 3.0
    pose.orientation.x, pose.orientation.w = 0.6, 0.8
    assert pose_array(pose).tolist() == [1.0, 2.0, 3.0, 0.6, 0.0, 0.0, 0.8]
    wrench = Wrench()
    wrench.force.y, wrench.torque.z = 5.0, 6.0
    assert wrench_array(wrench).tolist() == [0.0, 5.0, 0.0, 0.0, 0.0, 6.0]
    twist = make_twist("base")
    fill_twist(twist, 2 * 10**9 + 5, np.arange(6.0))
    assert (twist.header.frame_id, twist.header.stamp.sec) == ("base", 2)
    assert (twist.twist.linear.z, twist.twist.angular.z) == (2.0, 5.0)
    joints = make_joints(["a", "b"])
    fill_joint_target(joints, 7, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert (joints.position.tolist(), joints.velocity.tolist()) == ([1.0, 2.0], [3.0, 4.0])


def test_errors_are_the_names_of_what_is_true():
    fields = {"joint_reflex": True, "tau_j_range_violation": False, "count": 3}
    errors = SimpleNamespace(**fields, get_fields_and_field_types=lambda: dict.fromkeys(fields))
    assert error_names(errors) == ("joint_reflex",)


def test_tracking_twist_leads_to_the_target_and_keeps_the_limits():
    target = Target(
        make_pose(START[:3] + 0.01, rotated(START[3:], np.array([0.0, 0, 0.05]))), np.zeros(6)
    )
    twist = tracking_twist(target, START, 2.0, MOTION)
    np.testing.assert_allclose(twist, [0.02, 0.02, 0.02, 0, 0, 0.1], atol=1e-6)
    moving = target._replace(twist=np.array([0.1, 0, 0, 0, 0, 0]), pose=START)
    np.testing.assert_allclose(tracking_twist(moving, START, 2.0, MOTION)[:3], [0.1, 0, 0])
    far = Target(make_pose(START[:3] + 1.0, quaternion_from_euler(np.zeros(3))), np.full(6, 9.0))
    twist = tracking_twist(far, START, 4.0, MOTION)
    assert np.linalg.norm(twist[:3]) == pytest.approx(MOTION.max_speed)
    assert np.linalg.norm(twist[3:]) == pytest.approx(MOTION.max_turn_rate)


def test_confirmed_sources_are_kept_by_robot(tmp_path):
    path = tmp_path / "state" / "confirmed.json"
    first, other = ConfirmedSources(path, "fr3"), ConfirmedSources(path, "panda")
    assert "abc" not in first
    first.add("abc")
    other.add("xyz")
    first.add("abc")
    assert "abc" in ConfirmedSources(path, "fr3")
    assert "abc" not in ConfirmedSources(path, "panda")
    assert "xyz" in ConfirmedSources(path, "panda")


@pytest.mark.parametrize("text", ["[]", '{"fr3": "abc"}', '{"fr3": [1]}', "{"])
def test_damaged_list_of_confirmed_sources_is_refused(tmp_path, text):
    path = tmp_path / "confirmed.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"confirmed\.json"):
        ConfirmedSources(path, "fr3")


def test_start_poses_from_a_file(tmp_path):
    path = tmp_path / "start.yaml"
    path.write_text(yaml.safe_dump({"poses": [[0.5, 0, 0.4, 2.0, 0, 0, 0]]}))
    poses = load_start_poses(path, load_contract(CONTRACT))
    np.testing.assert_allclose(poses, [[0.5, 0, 0.4, 1, 0, 0, 0]])


def test_start_poses_are_those_of_a_datasets_episodes(tmp_path):
    contract = load_contract(CONTRACT.with_name("panda_calvin.yaml"))
    dataset = robot_dataset(tmp_path / "data", contract)
    poses = load_start_poses(tmp_path / "data", contract)
    demos = [info for info in dataset.episodes if info.kind == "demo"] or dataset.episodes
    first = np.array([dataset.array(info.id, "proprio")[0] for info in demos])
    np.testing.assert_allclose(poses[:, :3], first[:, :3], atol=1e-6)
    np.testing.assert_allclose(rotation_6d_from_quaternion(poses[:, 3:]), first[:, 3:9], atol=1e-5)
    with pytest.raises(ConfigError, match="proprioception"):
        load_start_poses(tmp_path / "data", contract.model_copy(update={"proprio": ("position",)}))


@pytest.mark.parametrize("poses", [[], [[0.5, 0, 0.4]], [[0.5, 0, 0.4, 0, 0, 0, 0]]])
def test_start_poses_that_are_none_are_refused(tmp_path, poses):
    path = tmp_path / "start.yaml"
    path.write_text(yaml.safe_dump({"poses": poses}))
    with pytest.raises(ConfigError, match=r"start\.yaml"):
        load_start_poses(path, load_contract(CONTRACT))


def test_rotation_comes_back_from_two_columns():
    quaternion = make_pose(np.zeros(3), np.array([0.1, -0.7, 0.3, 0.5]))[3:]
    columns = rotation_6d_from_quaternion(quaternion).reshape(1, 2, 3)
    assert abs(quaternion_from_columns(columns)[0] @ quaternion) == pytest.approx(1.0)


def test_ticks_begin_periods_at_their_time_and_count_the_missed_ones():
    ticks = Ticks(0.04, 4)
    ticks.start(0.0)
    early = [ticks.begins_period(0.01 * count - 0.002) for count in range(1, 13)]
    assert early == [True, False, False, False] * 3
    assert ticks.share(0.128) == pytest.approx((0.128 - 0.085) / 0.04)
    assert ticks.begins_period(0.005 + 0.04 * 6.5)
    assert ticks.missed == 3
    assert not ticks.begins_period(0.0), "a clock set back begins nothing"


def test_preset_models_name_every_arm():
    preset = Preset.model_validate({"target": {"topic": "{arm}/t", "kind": "pose"}})
    assert preset.for_arm("panda").target.topic == "panda/t"
