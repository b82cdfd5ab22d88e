# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the cameras see: the lights, the joints, and the same picture every time."""

import numpy as np
import pytest

from diwa.errors import ConfigError
from diwa.sim.play_table import PlayTableConfig, PlayTableEnv


@pytest.fixture(scope="module")
def env():
    config = PlayTableConfig(cameras=True, static_size=(64, 64), gripper_size=(48, 32))
    env = PlayTableEnv(config)
    yield env
    env.close()


def scene(**joints: float) -> np.ndarray:
    vector = np.zeros(24)
    for name, value in joints.items():
        vector[{"slide": 0, "drawer": 1, "switch": 3, "led": 5}[name]] = value
    vector[6:] = [0.3, -0.1, 0.4605, 0, 0, 0, -0.2, 0.1, 0.4605, 0, 0, 0, 0.1, 0.1, 0.4605, 0, 0, 0]
    return vector


def see(env, **joints: float) -> np.ndarray:
    observation, _ = env.reset(seed=0, options={"scene_obs": scene(**joints)})
    return observation["rgb_static"].astype(int)


def yellow(image: np.ndarray) -> int:
    red, green, blue = np.moveaxis(image, -1, 0)
    return int(((red > 150) & (green > 150) & (blue < 60)).sum())


def green(image: np.ndarray) -> int:
    red, green, blue = np.moveaxis(image, -1, 0)
    return int(((green > 150) & (red < 60) & (blue < 60)).sum())


def test_lights_change_the_colour_of_enough_pixels_at_64_by_64(env):
    dark = see(env)
    assert (yellow(dark), green(dark)) == (0, 0)
    bulb = see(env, switch=0.088)
    assert yellow(bulb) >= 8
    assert green(bulb) == 0
    led = see(env, led=1.0)
    assert green(led) >= 10
    assert yellow(led) == 0


def test_bulb_is_wholly_inside_the_static_picture(env):
    image = see(env, switch=0.088)
    rows, columns = np.nonzero((image[..., 0] > 150) & (image[..., 1] > 150) & (image[..., 2] < 60))
    assert rows.min() >= 2
    assert columns.max() <= 61


@pytest.mark.parametrize("joint", ["slide", "drawer"])
def test_moving_a_joint_is_seen(env, joint):
    changed = np.abs(see(env) - see(env, **{joint: 0.2})).max(axis=-1) > 30
    assert changed.sum() > 100


def test_images_have_the_configured_size_and_type(env):
    observation, _ = env.reset(seed=0)
    assert observation["rgb_static"].shape == (64, 64, 3)
    assert observation["rgb_gripper"].shape == (48, 32, 3)
    assert observation["rgb_gripper"].dtype == np.uint8
    assert env.render("gripper", (20, 30)).shape == (20, 30, 3)
    assert env.render().shape == (64, 64, 3)


def test_gripper_camera_sees_its_own_fingers_and_moves_with_them(env):
    observation, _ = env.reset(seed=0, options={"scene_obs": scene()})
    before = observation["rgb_gripper"].astype(int)
    for _ in range(15):
        observation, *_ = env.step(np.array([1.0, 0, 0, 0, 0, 0, -1.0]))
    after = observation["rgb_gripper"].astype(int)
    assert (np.abs(before - after).max(axis=-1) > 30).mean() > 0.2


def test_same_state_gives_the_same_picture(env):
    np.testing.assert_array_equal(see(env, drawer=0.1), see(env, drawer=0.1))


def test_unknown_camera_is_refused(env):
    with pytest.raises(ConfigError, match="tactile"):
        env.render("tactile")
