# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Pitch and roll of a hand against pointing down, checked with SciPy's rotations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from diwa.control.tilt import tilt, tilt_excess

DOWN = Rotation.from_euler("x", np.pi)
angles = st.floats(-1.2, 1.2)


@settings(max_examples=100, deadline=None)
@given(st.floats(-4.0, 4.0), angles)
def test_tilt_about_one_axis_of_the_hand_is_told_whatever_the_yaw(yaw, angle):
    upright = Rotation.from_euler("z", yaw) * DOWN
    about_y = tilt((upright * Rotation.from_euler("y", angle)).as_quat())
    about_x = tilt((upright * Rotation.from_euler("x", angle)).as_quat())
    np.testing.assert_allclose(np.abs(about_y), [abs(angle), 0.0], atol=1e-9)
    np.testing.assert_allclose(np.abs(about_x), [0.0, abs(angle)], atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.floats(-4.0, 4.0), angles)
def test_hand_yaw_takes_the_hand_for_turned_in_the_reported_frame(hand_yaw, angle):
    hand = DOWN * Rotation.from_euler("y", angle)
    reported = hand * Rotation.from_euler("z", -hand_yaw)
    np.testing.assert_allclose(tilt(reported.as_quat(), hand_yaw), tilt(hand.as_quat()), atol=1e-9)


@pytest.mark.parametrize(("axis", "angle", "expected"), [("y", 0.6, 0.1), ("x", 0.6, -0.4)])
def test_excess_is_the_larger_of_two(axis, angle, expected):
    leaning = (DOWN * Rotation.from_euler(axis, angle)).as_quat()
    assert tilt_excess(leaning, max_pitch=0.5, max_roll=1.0) == pytest.approx(expected)


def test_excess_grows_up_to_a_hand_that_points_up():
    for axis in "xy":
        turned = [DOWN * Rotation.from_euler(axis, angle) for angle in np.linspace(0.0, np.pi, 50)]
        excess = [tilt_excess(rotation.as_quat(), 0.5, 1.0) for rotation in turned]
        assert (np.diff(excess) >= 0).all()
        assert excess[-1] == pytest.approx(np.pi)
