# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The watchdog barks when nothing comes, and only then."""

import pytest

from diwa.control.watchdog import Watchdog


def test_watchdog_is_expired_until_it_is_fed():
    watchdog = Watchdog(timeout_s=0.2)
    assert watchdog.expired(0.0)
    watchdog.feed(1.0)
    assert not watchdog.expired(1.0)
    watchdog.reset()
    assert watchdog.expired(1.0)


@pytest.mark.parametrize(("now", "expired"), [(1.2, False), (1.201, True), (0.9, True)])
def test_watchdog_expires_after_its_timeout_or_when_time_goes_back(now, expired):
    watchdog = Watchdog(timeout_s=0.2)
    watchdog.feed(1.0 - 1e-12)
    assert watchdog.expired(now - 1e-9) is expired
