# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
import array

import numpy as np
import pytest

from diwa.data.contract import Stream
from diwa.data.decode import decode, decode_action, epoch_of, stamp_ns
from diwa.errors import ConfigError
from robot_messages import LockstepRobot


@pytest.fixture
def robot(camera_contract):
    return LockstepRobot(camera_contract)


def test_stamp_is_exact_beyond_double_precision(robot):
    message = robot.observation("ee_pose", 0)
    message.header.stamp.sec, message.header.stamp.nanosec = 1_800_000_000, 123_456_789
    assert stamp_ns(message) == 1_800_000_000_123_456_789


def test_epoch_is_none_where_the_type_has_none(robot):
    robot.epoch = 4
    assert epoch_of(robot.observation("scene_state", 0)) == 4
    assert epoch_of(robot.observation("ee_pose", 0)) is None


def test_pose_is_position_and_quaternion(robot, camera_contract):
    message = robot.observation("ee_pose", 0)
    decoded = decode(message, camera_contract.observations["ee_pose"])
    p, q = message.pose.position, message.pose.orientation
    assert decoded.tolist() == [p.x, p.y, p.z, q.x, q.y, q.z, q.w]


def test_pose_in_another_frame_is_refused(robot, camera_contract):
    message = robot.observation("ee_pose", 0)
    message.header.frame_id = "odom"
    with pytest.raises(ConfigError, match="odom"):
        decode(message, camera_contract.observations["ee_pose"])


def test_joints_come_in_the_order_of_the_contract(robot, camera_contract):
    stream = camera_contract.observations["joint_states"]
    message = robot.observation("joint_states", 0)
    assert message.name != list(stream.names)
    by_name = dict(zip(message.name, message.position, strict=True))
    assert decode(message, stream).tolist() == [by_name[name] for name in stream.names]


def test_missing_joint_is_named(robot, camera_contract):
    message = robot.observation("joint_states", 0)
    message.name[0] = "elbow"
    with pytest.raises(ConfigError, match="panda_finger_joint2"):
        decode(message, camera_contract.observations["joint_states"])


def test_scene_of_another_size_is_refused(robot, camera_contract):
    message = robot.observation("scene_state", 0)
    message.state = message.state[:20]
    with pytest.raises(ConfigError, match="24"):
        decode(message, camera_contract.observations["scene_state"])


def test_action_is_the_applied_one(robot):
    message = robot.action(0)
    message.requested = message.requested * 2
    np.testing.assert_array_equal(decode_action(message), message.action)
    assert decode_action(message).dtype == np.float32


@pytest.mark.parametrize("container", [np.array, bytes, list, lambda v: array.array("B", v)])
@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "channels"), [("rgb8", "RGB"), ("bgr8", "BGR"), ("rgba8", "RGBA"), ("mono8", "L")]
)
def test_image_is_rgb_whatever_encoding_padding_and_container(
    robot, encoding, channels, padding, container
):
    rgb = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    if channels == "L":
        rgb[:] = rgb[..., :1]
    planes = {"R": rgb[..., 0], "G": rgb[..., 1], "B": rgb[..., 2], "L": rgb[..., 0]}
    planes["A"] = np.zeros_like(rgb[..., 0])
    sent = np.stack([planes[name] for name in channels], axis=-1).reshape(6, -1)
    sent = np.pad(sent, ((0, 0), (0, padding)), constant_values=77)
    message = robot.observation("rgb_static", 0)
    message.encoding, message.height, message.width = encoding, 6, 4
    message.step, message.data = sent.shape[1], container(sent.reshape(-1))
    stream = Stream(kind="image", topic="c", type="t", encoding=encoding, height=6, width=4)
    np.testing.assert_array_equal(decode(message, stream), rgb)


@pytest.mark.parametrize(
    ("field", "value"), [("encoding", "bgr8"), ("height", 100), ("step", 599), ("step", 700)]
)
def test_image_that_does_not_fit_is_refused(robot, camera_contract, field, value):
    message = robot.observation("rgb_static", 0)
    setattr(message, field, value)
    with pytest.raises(ConfigError, match="cameras/static/image_raw"):
        decode(message, camera_contract.observations["rgb_static"])
