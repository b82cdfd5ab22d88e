# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Actions derived from poses: they are what `integrate_action` undoes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bag_files import lockstep_bag, write_bag
from diwa.control.poses import integrate_action
from diwa.data.build import build_dataset
from diwa.data.build_report import read_reports
from diwa.data.contract import Contract
from diwa.data.frames import FrameBuilder
from diwa.errors import ConfigError
from robot_messages import LockstepRobot, rosbags_factory, step_stamp

START = np.array([0.1, -0.2, 0.5, 0.0, 0.0, 0.0, 1.0])
OPEN, CLOSED = 0.08, 0.0


def without_actions(contract, **action):
    raw = contract.model_dump()
    raw["action"].update(topic="", **action)
    return Contract.model_validate(raw)


@pytest.fixture
def contract(lowdim_contract):
    return without_actions(lowdim_contract)


def frames_of(contract, poses, widths):
    """Frames of a robot that was at these poses, with the fingers that far apart."""
    builder = FrameBuilder(contract)
    frames = []
    for step, (pose, width) in enumerate(zip(poses, widths, strict=True)):
        at = step_stamp(contract, step)
        joints = np.concatenate([np.zeros(7), [width / 2, width / 2]])
        builder.push("joint_states", at, joints)
        builder.push("scene_state", at, np.zeros(24, dtype=np.float32))
        builder.push("ee_pose", at, pose)
        frames += builder.pop()
    return frames, builder


def poses_after(motions, spec):
    poses = [START]
    for motion in motions:
        poses.append(integrate_action(poses[-1], np.append(motion, 1.0), spec))
    return poses


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.float64, (12, 6), elements=st.floats(-1, 1, width=32)))
def test_derived_actions_are_those_that_moved_the_robot(lowdim_contract, motions):
    contract = without_actions(lowdim_contract)
    poses = poses_after(motions, contract.action)
    frames, builder = frames_of(contract, poses, [OPEN] * 13)
    assert [f.is_first for f in frames] == [True] + 12 * [False]
    derived = np.stack([frame.previous_action for frame in frames[1:]])
    np.testing.assert_allclose(derived[:, :6], motions, atol=1e-4)
    assert builder.action_counts.clipped == 0
    assert builder.action_counts.used == 12
    assert builder.action_counts.derived


def test_derived_actions_are_clipped_and_counted(contract):
    motions = np.zeros((4, 6))
    motions[1, 0], motions[3, 5] = 2.5, -1.5
    frames, builder = frames_of(contract, poses_after(motions, contract.action), [OPEN] * 5)
    assert frames[2].previous_action[:2].tolist() == [1.0, 0.0]
    assert frames[4].previous_action[5] == -1.0
    counts = builder.action_counts
    assert (counts.clipped, counts.used) == (2, 4)
    assert counts.largest == pytest.approx(2.5)


def test_first_frame_of_a_segment_has_the_neutral_action(contract):
    frames, _ = frames_of(contract, [START] * 3, [CLOSED] * 3)
    assert frames[0].previous_action.tolist() == list(contract.action.neutral)
    assert frames[1].previous_action[6] == -1.0


def test_gripper_follows_the_fingers(contract):
    widths = [OPEN, OPEN, 0.076, 0.06, 0.05, 0.05, 0.0501, 0.06, 0.08, 0.08]
    frames, _ = frames_of(contract, [START] * len(widths), widths)
    gripper = [float(frame.previous_action[6]) for frame in frames[1:]]
    # A grasped object of 0.05 m is wider than `open_width_m`, and still held closed.
    assert gripper == [1, -1, -1, -1, -1, -1, 1, 1, 1]


def test_gripper_is_told_from_the_width_at_the_start(contract):
    for width, expected in ((0.039, -1.0), (0.041, 1.0)):
        frames, _ = frames_of(contract, [START] * 2, [width] * 2)
        assert frames[1].previous_action[6] == expected


def test_dataset_of_a_robot_without_actions_equals_its_live_frames(tmp_path, contract):
    bag = lockstep_bag(tmp_path / "bag", contract, steps=12)
    robot = LockstepRobot(contract, rosbags_factory(contract))
    builder, live = FrameBuilder(contract), []
    for key, message in robot.run(12):
        builder.push_message(key, message)
        live += builder.pop()
    dataset = build_dataset([bag], tmp_path / "data")
    actions = dataset.array("bag", "action")
    assert actions.shape == (12, 7)
    for t, frame in enumerate(live[1:]):
        assert actions[t].tobytes() == frame.previous_action.tobytes()
    report = read_reports(tmp_path / "data")["bag"]
    assert report.actions == builder.action_counts
    # This robot jumps from anywhere to anywhere: nearly all is clipped, and that is said.
    assert any("of the actions clipped" in remark for remark in report.remarks)


def test_executed_actions_that_were_clipped_are_counted(tmp_path, lowdim_contract):
    messages = list(LockstepRobot(lowdim_contract, rosbags_factory(lowdim_contract)).run(10))
    actions = [message for key, message in messages if key == "action"]
    for message in actions[2:6]:
        message.clipped = True
    build_dataset([write_bag(tmp_path / "bag", lowdim_contract, messages)], tmp_path / "data")
    counts = read_reports(tmp_path / "data")["bag"].actions
    assert (counts.clipped, counts.used, counts.received) == (4, 9, 9)


def test_contract_without_actions_needs_a_pose(lowdim_contract):
    raw = without_actions(lowdim_contract).model_dump()
    del raw["observations"]["ee_pose"]
    raw["proprio"] = ["gripper_width"]
    with pytest.raises(ValueError, match="derived from a pose"):
        Contract.model_validate(raw)


def test_proprio_of_derived_frames_knows_the_derived_gripper(contract):
    frames, _ = frames_of(contract, [START] * 3, [OPEN, 0.03, 0.03])
    entry = sum((3, 6, 1, 7))
    assert [float(f.observation["proprio"][entry]) for f in frames] == [1, -1, -1]


def test_an_action_is_not_taken_where_the_contract_has_none(contract):
    with pytest.raises((AssertionError, ConfigError)):
        FrameBuilder(contract).push("action", 0, np.zeros(7, dtype=np.float32))


def test_actions_are_derived_on_demand_from_bags_that_have_none(tmp_path, lowdim_contract):
    """The recorder heard of no action at all, though its contract names a topic."""
    robot = LockstepRobot(lowdim_contract, rosbags_factory(lowdim_contract))
    pairs = [pair for pair in robot.run(90) if pair[0] != "action"]
    bag = write_bag(tmp_path / "ep", lowdim_contract, pairs)
    with pytest.raises(ConfigError, match="no episodes"):
        build_dataset([bag], tmp_path / "data")
    remarks = read_reports(tmp_path / "data")["ep"].remarks
    assert any("no executed actions" in remark for remark in remarks)
    dataset = build_dataset([bag], tmp_path / "data", derive_actions=True)
    assert dataset.contract == without_actions(lowdim_contract)
    assert [info.length for info in dataset.episodes] == [90]
    again = build_dataset([bag], tmp_path / "data", derive_actions=True)
    assert again.manifest == dataset.manifest
    with pytest.raises(ConfigError, match="another contract"):
        build_dataset([bag], tmp_path / "data")
