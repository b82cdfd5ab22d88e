# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
import array
from types import SimpleNamespace

import cv2
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


def compressed(image, format_name, extension, header=None):
    """A CompressedImage as `image_transport` publishes it."""
    encoded = cv2.imencode(extension, image[..., ::-1])[1].reshape(-1)
    return SimpleNamespace(header=header, format=format_name, data=encoded)


@pytest.fixture
def stream(camera_contract):
    return camera_contract.observations["rgb_gripper"]


@pytest.mark.parametrize("as_list", [False, True])
def test_compressed_images_are_rgb(stream, as_list):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (stream.height, stream.width, 3), dtype=np.uint8)
    message = compressed(image, "rgb8; png compressed bgr8", ".png")
    if as_list:
        message.data = array.array("B", message.data.tobytes())
    decoded = decode(message, stream)
    np.testing.assert_array_equal(decoded, image)
    assert decoded.dtype == np.uint8


def test_jpeg_keeps_its_colours(stream):
    image = np.zeros((stream.height, stream.width, 3), dtype=np.uint8)
    image[:] = (200, 40, 90)
    decoded = decode(compressed(image, "bgr8; jpeg compressed bgr8", ".jpg"), stream)
    assert np.abs(decoded.astype(int) - image).max() <= 3


def test_compressed_grey_images_get_three_channels(stream):
    grey = np.full((stream.height, stream.width), 77, dtype=np.uint8)
    encoded = cv2.imencode(".png", grey)[1].reshape(-1)
    decoded = decode(SimpleNamespace(format="mono8; png compressed ", data=encoded), stream)
    assert decoded.shape == (stream.height, stream.width, 3)
    assert (decoded == 77).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m: setattr(m, "data", m.data[:40]), "40 bytes of format 'png'"),
        (lambda m: setattr(m, "data", m.data[:0]), "0 bytes"),
        (lambda m: setattr(m, "format", "16UC1; compressedDepth png"), "compressedDepth"),
    ],
)
def test_compressed_images_that_cannot_be_read_are_refused(stream, change, expected):
    message = compressed(np.zeros((stream.height, stream.width, 3), np.uint8), "png", ".png")
    change(message)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        decode(message, stream)
    assert expected in str(caught.value)


def test_compressed_image_of_another_size_is_refused(stream):
    message = compressed(np.zeros((10, 20, 3), dtype=np.uint8), "png", ".png")
    with pytest.raises(ConfigError, match="compressed, 10x20"):
        decode(message, stream)


def test_pose_without_orientation_is_refused(robot, camera_contract):
    message = robot.observation("ee_pose", 0)
    rotation = message.pose.orientation
    rotation.x = rotation.y = rotation.z = rotation.w = 0.0
    with pytest.raises(ConfigError, match="without orientation"):
        decode(message, camera_contract.observations["ee_pose"])


def test_joint_states_with_names_only_are_refused(robot, camera_contract):
    message = robot.observation("joint_states", 0)
    message.position = message.position[:3]
    with pytest.raises(ConfigError, match="9 names, 3 positions"):
        decode(message, camera_contract.observations["joint_states"])


@pytest.mark.parametrize("values", [[0.0] * 6, [0.0] * 6 + [float("nan")]])
def test_action_that_cannot_be_used_is_refused(values):
    with pytest.raises(ConfigError, match="executed action"):
        decode_action(SimpleNamespace(action=values))
