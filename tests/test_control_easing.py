# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Easing gives what is asked for where it may, and the nearest thing elsewhere."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diwa.control.easing import StepLimits, eased, fits, largest_share

LIMITS = StepLimits.per_period(0.25, 1.5, 8.0, 1 / 30)
vectors = hnp.arrays(np.float64, 3, elements=st.floats(-0.02, 0.02))


@settings(max_examples=300, deadline=None)
@given(vectors, vectors)
def test_eased_step_always_fits_and_standing_still_does(wanted, last):
    previous = eased(last, eased(last, np.zeros(3), LIMITS), LIMITS)
    assert fits(np.zeros(3), previous, LIMITS)
    assert fits(eased(wanted, previous, LIMITS), previous, LIMITS)


@settings(max_examples=300, deadline=None)
@given(vectors, vectors)
def test_step_that_fits_is_not_changed(wanted, last):
    previous = eased(last, np.zeros(3), LIMITS)
    if fits(wanted, previous, LIMITS._replace(length=LIMITS.length - 2e-9)):
        np.testing.assert_allclose(eased(wanted, previous, LIMITS), wanted, atol=3e-9)


def test_slowing_down_is_free_and_speeding_up_takes_time():
    full = np.array([LIMITS.length, 0.0, 0.0])
    for share in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(eased(share * full, full, LIMITS), share * full, atol=1e-12)
    first = eased(full, np.zeros(3), LIMITS)
    np.testing.assert_allclose(first, [1.5 / 900, 0.0, 0.0], atol=1e-9)


def test_corner_is_rounded():
    step = eased(np.array([0.0, LIMITS.length, 0.0]), np.array([LIMITS.length, 0.0, 0.0]), LIMITS)
    assert step[1] > 0.9 * LIMITS.ramp


def test_speed_is_one_from_which_a_period_suffices_to_stop():
    assert StepLimits.per_period(0.25, 1.5, 8.0, 0.01).length == 8.0 * 0.01**2


def test_largest_share_is_found_below_the_limit():
    assert largest_share(lambda share: True) == 1.0
    assert largest_share(lambda share: False) == 0.0
    found = largest_share(lambda share: share <= 0.3)
    assert 0.3 - 1e-5 < found <= 0.3
