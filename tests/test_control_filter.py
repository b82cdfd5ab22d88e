# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""No input whatever leads to a command beyond the limits, and harmless ones pass untouched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diwa.control.filter import SafetyFilter, SafetyLimits
from diwa.control.poses import (
    angle_between,
    integrate_action,
    make_pose,
    quaternion_from_euler,
    relative_motion,
)
from diwa.data.contract import ActionSpec, Workspace

LIMITS = SafetyLimits(
    action=ActionSpec(), workspace=Workspace(minimum=(-0.4, -0.6, 0.3), maximum=(0.4, 0.2, 0.8))
)
SLACK = 1e-6  # [m], [rad]: actions are float32
CENTRE = make_pose((0.0, -0.2, 0.5), quaternion_from_euler((3.1, 0.0, 1.5)))

anything = st.floats(allow_nan=True, allow_infinity=True, width=64)
requests = st.one_of(
    hnp.arrays(np.float64, 7, elements=anything),
    hnp.arrays(np.float64, 7, elements=st.floats(-3.0, 3.0)),
    hnp.arrays(np.float64, st.integers(0, 9), elements=anything),
    st.sampled_from([None, "left", [], [[0.0] * 7], [0.0] * 6, {}]),
)
poses = st.builds(
    lambda position, euler: make_pose(position, quaternion_from_euler(euler)),
    hnp.arrays(np.float64, 3, elements=st.floats(-1.0, 1.0)),
    hnp.arrays(np.float64, 3, elements=st.floats(-3.2, 3.2)),
)
nudges = hnp.arrays(np.float64, 6, elements=st.floats(-3.0, 3.0))


def check_limits(safe, before, measured):
    """Everything the filter promises about one action."""
    spec, box = LIMITS.action, LIMITS.workspace
    assert safe.action.shape == (7,)
    assert safe.action.dtype == np.float32
    assert np.isfinite(safe.action).all()
    assert np.abs(safe.action).max() <= 1.0
    assert safe.action[6] in (-1.0, 1.0)
    move = safe.action[:3].astype(np.float64) * spec.position_m_per_unit
    turn = safe.action[3:6].astype(np.float64) * spec.rotation_rad_per_unit
    assert np.linalg.norm(move) <= LIMITS.max_step_m + SLACK
    assert np.linalg.norm(turn) <= LIMITS.max_step_rad + SLACK
    after = integrate_action(before, safe.action, spec)
    assert (after[:3] >= np.minimum(box.minimum, before[:3]) - SLACK).all()
    assert (after[:3] <= np.maximum(box.maximum, before[:3]) + SLACK).all()
    slack_before = np.linalg.norm(before[:3] - measured[:3])
    assert np.linalg.norm(after[:3] - measured[:3]) <= max(LIMITS.leash_m, slack_before) + SLACK
    angle_before = angle_between(before[3:], measured[3:])
    angle_after = angle_between(after[3:], measured[3:])
    assert angle_after <= max(LIMITS.leash_rad, angle_before) + SLACK


@settings(max_examples=400, deadline=None)
@given(requests, poses, nudges)
def test_no_single_request_leads_beyond_the_limits(request, measured, nudge):
    before = integrate_action(measured, np.append(nudge, 1.0), LIMITS.action)
    check_limits(SafetyFilter(LIMITS).filter(request, before, measured), before, measured)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(requests, st.floats(0.0, 1.0)), max_size=40))
def test_no_sequence_of_requests_winds_up(sequence):
    safety = SafetyFilter(LIMITS)
    desired = measured = CENTRE
    for request, follow in sequence:
        safe = safety.filter(request, desired, measured)
        check_limits(safe, desired, measured)
        desired = integrate_action(desired, safe.action, LIMITS.action)
        step = follow * relative_motion(measured, desired, LIMITS.action)
        measured = integrate_action(measured, np.append(step, 1.0), LIMITS.action)
        assert (desired[:3] >= np.array(LIMITS.workspace.minimum) - 50 * SLACK).all()
        assert (desired[:3] <= np.array(LIMITS.workspace.maximum) + 50 * SLACK).all()
    assert safety.counts.actions == len(sequence)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.float64, 7, elements=anything), hnp.arrays(np.float64, 7, elements=anything))
def test_nonsense_poses_never_move_the_arm(desired, measured):
    safe = SafetyFilter(LIMITS).filter(np.ones(7), desired, measured)
    assert np.isfinite(safe.action).all()
    assert np.abs(safe.action).max() <= 1.0


@settings(max_examples=100, deadline=None)
@given(poses, nudges)
def test_a_request_not_to_move_passes_as_it_is(measured, nudge):
    before = integrate_action(measured, np.append(nudge, 1.0), LIMITS.action)
    safe = SafetyFilter(LIMITS).filter(np.append(np.zeros(6), -1.0), before, measured)
    np.testing.assert_array_equal(safe.action, [0, 0, 0, 0, 0, 0, -1])


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float64, 6, elements=st.floats(-0.8, 0.8)), st.booleans())
def test_a_harmless_action_passes_unchanged(motion, is_open):
    action = np.append(motion, 1.0 if is_open else -1.0)
    safe = SafetyFilter(LIMITS).filter(action, CENTRE, CENTRE)
    np.testing.assert_allclose(safe.action, action, atol=1e-6)
    assert not (safe.clipped or safe.workspace_limited or safe.leashed or safe.rejected)


def test_rejected_action_holds_and_keeps_the_gripper():
    safety = SafetyFilter(LIMITS)
    safety.filter(np.array([0, 0, 0, 0, 0, 0, -1.0]), CENTRE, CENTRE)
    safe = safety.filter(np.full(7, np.nan), CENTRE, CENTRE)
    assert safe.rejected
    np.testing.assert_array_equal(safe.action, [0, 0, 0, 0, 0, 0, -1])
    assert (safety.counts.actions, safety.counts.rejected) == (2, 1)


@pytest.mark.parametrize(("value", "expected"), [(0.0, 1.0), (-1e-9, -1.0), (0.3, 1.0)])
def test_gripper_opens_at_zero_and_above(value, expected):
    safe = SafetyFilter(LIMITS).filter(np.append(np.zeros(6), value), CENTRE, CENTRE)
    assert safe.action[6] == expected


def test_each_limit_raises_its_own_flag():
    safety = SafetyFilter(LIMITS)
    fast = safety.filter(np.array([5.0, 0, 0, 0, 0, 0, 1]), CENTRE, CENTRE)
    assert fast.clipped
    assert not fast.leashed
    edge = CENTRE.copy()
    edge[0] = 0.395
    boxed = safety.filter(np.array([1.0, 0, 0, 0, 0, 0, 1]), edge, edge)
    assert boxed.workspace_limited
    assert boxed.action[0] == pytest.approx(0.25)
    ahead = CENTRE.copy()
    ahead[0] += 0.045
    leashed = safety.filter(np.array([1.0, 0, 0, 0, 0, 0, 1]), ahead, CENTRE)
    assert leashed.leashed
    assert leashed.action[0] == pytest.approx(0.25)
    counts = safety.counts
    assert (counts.clipped, counts.workspace_limited, counts.leashed) == (1, 1, 1)


def test_leash_lets_the_arm_slide_and_come_back():
    safety = SafetyFilter(LIMITS)
    ahead = CENTRE.copy()
    ahead[0] += 0.08  # pushed away: already beyond the leash
    back = safety.filter(np.array([-1.0, 0, 0, 0, 0, 0, 1]), ahead, CENTRE)
    assert back.action[0] == -1.0
    away = safety.filter(np.array([1.0, 0, 0, 0, 0, 0, 1]), ahead, CENTRE)
    assert abs(away.action[0]) < 1e-6
    aside = safety.filter(np.array([0, 1.0, 0, 0, 0, 0, 1]), ahead, CENTRE)
    assert aside.action[1] > 0.9


def test_limits_come_from_the_contract(camera_contract):
    limits = SafetyLimits.from_contract(camera_contract)
    assert limits.workspace == camera_contract.workspace
    assert limits.action == camera_contract.action
    assert limits.leash_m == 0.05
    assert limits.leash_rad == 0.3
