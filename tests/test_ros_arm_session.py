# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a bridge does with an arm: gate, motion, stops, recovery, the way home."""

from __future__ import annotations

import numpy as np
import pytest

from diwa.control.arm import GUIDING, UNKNOWN, USER_STOPPED
from diwa_ros.arm_guards import Phase
from diwa_ros.backends.base import Job, finished
from fake_arm import START, Drive


def test_phases_are_those_of_the_message():
    from diwa_msgs.msg import RobotStatus

    assert {phase.name: int(phase) for phase in Phase} == {
        phase.name: getattr(RobotStatus, phase.name) for phase in Phase
    }


def test_gate_opens_once_nothing_has_been_wrong_for_a_while():
    drive = Drive(settle_s=0.5)
    drive.backend.errors = ("joint_reflex",)
    drive.step(30)
    assert drive.phase == Phase.GATED and "joint_reflex" in drive.session.problems[0]
    assert not drive.backend.targets
    drive.backend.errors = ()
    drive.step(14)
    assert drive.phase == Phase.GATED
    drive.step(3)
    assert drive.phase == Phase.READY
    np.testing.assert_allclose(drive.backend.targets[0][1].pose, START, atol=1e-9)
