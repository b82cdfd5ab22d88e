# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A bridge's session through long bad days: whatever happens, no target is beyond the limits.

Everything that can go wrong goes wrong at random, also at the same time, and ticks are late.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest

from diwa.control.arm import GUIDING, MOVE, REFLEX, USER_STOPPED
from diwa.control.poses import angle_between, integrate_action, make_pose
from diwa.control.targets import Target
from diwa.control.tilt import tilt_excess
from diwa_ros.arm_guards import Phase
from diwa_ros.arm_session import ACTIVE, REST_STEPS
from diwa_ros.ticks import Ticks
from fake_arm import START, SUBSTEPS, Drive, FakeBackend

PERIODS = 1200
FOLLOW = 0.4  # share of the way to its target that the arm goes between two targets
SLACK = 1e-6
NEAR = 0.05  # [m] its state may be a control period old, and a pushed arm springs back
NOT_A_POSE = np.full(7, np.nan)


class Sent(NamedTuple):
    """A target as it was sent."""

    at_s: float
    period: int
    target: Target
    measured: np.ndarray  # the arm really is there
    stream: int  # counts up whenever sending begins


class SlowArm(FakeBackend):
    """An arm that lags, can be pushed, and remembers who asked for what and when."""

    def __init__(self) -> None:
        super().__init__()
        self.period = self.stream = 0
        self.sending = False
        self.sent: list[Sent] = []
        self.really = START.copy()
        self.blind = False  # it reports no pose
        self.pose = self.really

    def state(self):
        self.pose = NOT_A_POSE if self.blind else self.really
        return super().state()

    def start(self, pose):
        assert not self.sending, "started twice"
        assert np.linalg.norm(pose[:3] - self.really[:3]) < NEAR, "it begins where the arm is"
        self.sending, self.stream = True, self.stream + 1

    def stop(self):
        self.sending = False

    def send(self, target, stamp_ns):
        assert self.sending, "nothing may be sent between stop and start"
        pose = target.pose
        self.sent.append(Sent(self.now_s, self.period, target, self.really, self.stream))
        if not self.frozen:
            near = self.really + FOLLOW * (pose - self.really)
            self.really = make_pose(near[:3], near[3:])


class BadDay:
    """Drives a session with late ticks and something new in most periods."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.arm = SlowArm()
        self.drive = Drive(
            backend=self.arm, settle_s=0.1, fade_steps=int(seed % 2) * 3,
            require_enable=seed % 3 == 0, start_poses=START[None],
        )  # fmt: skip
        self.session, self.limits = self.drive.session, self.drive.limits
        self.ticks = Ticks(self.drive.period_s, SUBSTEPS)
        self.now_s = self.drive.now_s
        self.ticks.start(self.now_s)
        self.phases: Counter[Phase] = Counter()
        self.estop_since: int | None = None
        self.mending = 0

    def run(self) -> None:
        while self.arm.period < PERIODS:
            late = self.rng.exponential(0.1) if self.rng.random() < 0.01 else 0.0
            self.now_s += self.ticks.tick_s * self.rng.uniform(0.7, 1.3) + late
            self.arm.now_s = self.drive.now_s = self.now_s
            if self.ticks.begins_period(self.now_s):
                self.arm.period += 1
                self.trouble()
                self.step()
            self.session.motion.send(self.ticks.share(self.now_s), self.drive.stamp_ns)

    def step(self) -> None:
        session, motion = self.session, self.session.motion
        before = motion.targets.desired if motion.targets.seeded else None
        executed = session.step(self.now_s, self.drive.stamp_ns)
        self.phases[session.phase] += 1
        assert np.isfinite(executed.safe.action).all()
        assert np.abs(executed.safe.action).max() <= 1.0
        moving = bool(executed.safe.action[:6].any())
        if moving:
            assert session.phase in (*ACTIVE, Phase.HOMING), session.phase
            told = integrate_action(before, executed.safe.action, self.drive.contract.action)
            assert np.linalg.norm(told[:3] - motion.targets.desired[:3]) < SLACK
        if session.guards.estop:
            assert not moving
        if self.arm.mode in (GUIDING, REFLEX, USER_STOPPED) or self.arm.senders > 1:
            assert not motion.sending

    def trouble(self) -> None:
        """One thing more or less, in half of the periods."""
        arm, session, rng = self.arm, self.session, self.rng
        session.guards.switch.push(rng.random() < 0.97, self.now_s)
        if self.mending:  # a person puts everything in order, and begins again
            self.mending -= 1
            arm.repaired()
            arm.senders, arm.trouble, arm.age_s, arm.blind, arm.frozen = 1, [], 0.0, False, False
            arm.force = np.zeros(6)
            session.set_estop(False)
            session.recover(self.now_s)
            if session.phase == Phase.GATED and self.mending == 60:
                session.home(self.now_s)
        elif session.phase in (Phase.STOPPED, Phase.REFLEX, Phase.GATED) and rng.random() < 0.05:
            self.mending = 120
        if rng.random() < 0.3:
            self.chunk()
        if self.mending > 40 or rng.random() > 0.12:
            return
        getattr(self, f"_{rng.choice(FAULTS)}")()

    def chunk(self) -> None:
        rng = self.rng
        chunk = rng.choice([0.1, 0.5, 1.0, 5.0]) * rng.standard_normal((rng.integers(0, 12), 7))
        chunk = np.cumsum(0.3 * chunk, axis=0) if rng.random() < 0.3 else chunk
        if rng.random() < 0.5:
            chunk[:] = chunk[:1]
        if chunk.size and rng.random() < 0.05:
            chunk.flat[rng.integers(chunk.size)] = rng.choice([np.nan, np.inf, -1e30])
        if rng.random() < 0.05:
            chunk = rng.standard_normal((3, rng.integers(1, 10)))
        epoch = None if rng.random() < 0.95 else int(rng.integers(5))
        source = str(rng.choice(["", "known", "new"]))
        self.drive.send(chunk, source, age_s=rng.choice([0.0, 0.1, 3.0, -1.0]), epoch=epoch)

    def _estop(self) -> None:
        self.session.set_estop(True)

    def _reflex(self) -> None:
        self.arm.reflex("joint_reflex")

    def _mode(self) -> None:
        self.arm.mode = int(self.rng.choice([MOVE, GUIDING, USER_STOPPED]))

    def _stranger(self) -> None:
        self.arm.senders = 2

    def _no_hand(self) -> None:
        self.arm.trouble = ["the gripper's server is gone"]

    def _old_state(self) -> None:
        self.arm.age_s = float(self.rng.choice([0.0, 0.2, 0.2, 3.0]))

    def _no_pose(self) -> None:
        self.arm.blind = not self.arm.blind

    def _push(self) -> None:
        shove = self.rng.uniform(-0.04, 0.04, 3)
        self.arm.really = make_pose(self.arm.really[:3] + shove, self.arm.really[3:])

    def _block(self) -> None:
        self.arm.frozen = not self.arm.frozen

    def _force(self) -> None:
        self.arm.force = self.rng.choice([0.0, 30.0, np.nan]) * np.ones(6)

    def _clock(self) -> None:
        self.drive.offset_ns -= int(self.rng.choice([1e6, 1e9]))

    def _stop(self) -> None:
        self.session.stop("stopped by request")

    def _home(self) -> None:
        self.session.home(self.now_s)

    def _recover(self) -> None:
        self.session.recover(self.now_s)


FAULTS = [
    *("estop", "reflex", "mode", "stranger", "no_hand", "old_state", "no_pose", "push", "block"),
    *("force", "clock", "stop", "home", "recover"),
]


def check_path(day: BadDay) -> None:
    """Speed by the clock on the wall, tilt and workspace, of every target."""
    motion, box = day.limits.motion, day.drive.contract.workspace
    low, high = np.array(box.minimum), np.array(box.maximum)
    tilts = (motion.max_pitch, motion.max_roll, motion.hand_yaw)
    for first, second in pairwise(day.arm.sent):
        if first.stream != second.stream:
            continue
        before, after, passed = first.target.pose, second.target.pose, second.at_s - first.at_s
        moved = np.linalg.norm(after[:3] - before[:3])
        assert moved <= motion.max_speed * passed + SLACK
        assert angle_between(before[3:], after[3:]) <= motion.max_turn_rate * passed + SLACK
        assert (after[:3] >= np.minimum(low, before[:3]) - SLACK).all()
        assert (after[:3] <= np.maximum(high, before[:3]) + SLACK).all()
        assert tilt_excess(after[3:], *tilts) <= max(tilt_excess(before[3:], *tilts), 0.0) + SLACK
        assert np.linalg.norm(second.target.twist[:3]) <= motion.max_speed + 1e-3
        assert np.linalg.norm(second.target.twist[3:]) <= motion.max_turn_rate + 1e-3


@pytest.mark.parametrize("seed", range(4))
def test_no_target_of_a_bad_day_is_beyond_the_limits(seed):
    day = BadDay(seed)
    day.run()
    check_path(day)
    assert day.arm.stream > 5  # it began anew again and again
    assert day.phases[Phase.MOVING] > PERIODS / 20
    assert len([phase for phase in Phase if day.phases[phase]]) >= 5, day.phases


def test_rest_of_a_stop_is_short():
    assert REST_STEPS * Drive().period_s <= 0.1
