# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The way home, and how near an arm is to a singular pose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diwa.control.joint_path import JointPath
from diwa.control.singularity import smallest_singular_value

joints = arrays(np.float64, 7, elements=st.floats(-3.0, 3.0))
limits = arrays(np.float64, 7, elements=st.floats(0.05, 5.0))


@given(joints, joints, limits, limits)
def test_path_keeps_every_joints_limits_and_arrives_at_rest(start, goal, velocity, acceleration):
    path = JointPath(start, goal, velocity, acceleration)
    times = np.linspace(-0.1, path.duration_s + 0.1, 400)
    positions, speeds = (np.array(part) for part in zip(*map(path.sample, times), strict=True))
    step = times[1] - times[0]
    assert (np.abs(speeds) <= velocity * (1 + 1e-9)).all()
    assert (np.abs(np.diff(speeds, axis=0)) <= acceleration * step * (1 + 1e-6) + 1e-12).all()
    moved = np.abs(np.diff(positions, axis=0)) - velocity * step
    assert (moved <= 1e-9).all()
    assert positions[0] == pytest.approx(start)
    assert positions[-1] == pytest.approx(goal)
    assert not speeds[0].any()
    assert not speeds[-1].any()


def test_path_is_as_fast_as_the_slowest_joint_allows():
    velocity, acceleration = np.full(7, 0.5), np.full(7, 100.0)
    goal = np.array([0.0, 0.1, 1.0, 0, 0, 0, 0])
    path = JointPath(np.zeros(7), goal, velocity, acceleration)
    assert path.sample(path.duration_s / 2)[1][2] == pytest.approx(0.5)


def test_path_to_where_the_arm_is_takes_no_time():
    path = JointPath(np.ones(7), np.ones(7), np.ones(7), np.ones(7))
    assert path.duration_s == 0.0
    assert path.sample(0.0)[0] == pytest.approx(np.ones(7))


def test_smallest_singular_value_tells_a_direction_that_is_lost():
    jacobian = np.random.default_rng(0).normal(size=(6, 7))
    assert smallest_singular_value(jacobian) > 0.01
    jacobian[3] = jacobian[2]
    assert smallest_singular_value(jacobian) == pytest.approx(0.0, abs=1e-9)
    jacobian[0, 0] = np.nan
    assert smallest_singular_value(jacobian) == 0.0
