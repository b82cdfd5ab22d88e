# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""A backend whose arm goes where it is sent, and a session driven by a clock of the test's."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diwa.control.arm import MOVE, REFLEX, ArmState
from diwa.control.poses import make_pose, quaternion_from_euler
from diwa.control.robots import load_robot
from diwa.data.contract import load_contract
from diwa_ros.arm_chunks import Chunk
from diwa_ros.arm_guards import Phase
from diwa_ros.arm_rules import Rules
from diwa_ros.arm_session import ArmSession
from diwa_ros.backends.base import Job, finished

CONTRACT = Path(__file__).resolve().parents[1] / "config" / "contracts" / "fr3_franka.yaml"
START = make_pose(np.array([0.45, 0.0, 0.4]), quaternion_from_euler(np.array([np.pi, 0.0, 0.0])))
JOINTS = np.array([0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785])
SUBSTEPS = 4


class FakeBackend:
    """Every target is reached at once, unless the test says otherwise.

    Attributes:
        pose, mode, errors, force, width: what the arm reports.
        age_s: of the state that is reported.
        frozen: the arm does not follow.
        targets: everything sent, as (stamp [ns], Target).
        calls: names of the other calls.
        senders, trouble: what `publishers` and `problems` say.
        job: of the next recovery; of the next way home where `leads_home`.
    """

    name = "fake"

    def __init__(self) -> None:
        self.pose = START.copy()
        self.mode, self.errors, self.force, self.width = MOVE, (), np.zeros(6), 0.08
        self.age_s = 0.0
        self.now_s = 0.0
        self.frozen = False
        self.targets: list = []
        self.calls: list[str] = []
        self.senders = 1
        self.trouble: list[str] = []
        self.leads_home = False
        self.job: Job = finished()

    def connect(self):
        self.calls.append("connect")

    def state(self):
        return ArmState(
            stamp_s=self.now_s - self.age_s,
            pose=self.pose.copy(),
            joints=JOINTS,
            joint_velocities=np.zeros(7),
            gripper_width=self.width,
            force=self.force,
            robot_mode=self.mode,
            errors=self.errors,
            success_rate=1.0,
        )

    def start(self, pose):
        self.calls.append("start")

    def send(self, target, stamp_ns):
        self.targets.append((stamp_ns, target))
        if not self.frozen:
            self.pose = target.pose.copy()

    def hold(self):
        self.calls.append("hold")

    def stop(self):
        self.calls.append("stop")

    def gripper(self, command):
        self.calls.append(f"gripper {command.value}")

    def home(self, joints, timeout_s):
        self.calls.append("home")
        return self.job if self.leads_home else None

    def recover(self):
        self.calls.append("recover")
        return self.job

    def publishers(self):
        return self.senders

    def problems(self):
        return self.trouble

    def notes(self):
        return []

    def close(self):
        self.calls.append("close")

    def reflex(self, *errors):
        """The arm stops itself."""
        self.mode, self.errors = REFLEX, errors

    def repaired(self):
        """The arm's errors are cleared."""
        self.mode, self.errors = MOVE, ()


class Drive:
    """A session, a fake arm, and a clock that goes on period by period."""

    def __init__(self, confirmed=("known",), backend=None, **rules) -> None:
        self.contract = load_contract(CONTRACT)
        self.limits = load_robot("fr3")
        self.backend = FakeBackend() if backend is None else backend
        self.log: list[str] = []
        self.now_s = 100.0
        self.offset_ns = 10**18  # of the ROS clock
        self.sequence = 0
        self.session = ArmSession(
            self.backend,
            self.limits,
            self.contract,
            Rules(**rules),
            set(confirmed),
            self.log.append,
        )
        self.backend.now_s = self.now_s
        self.session.begin(estop=False)

    @property
    def stamp_ns(self):
        return self.offset_ns + round(self.now_s * 1e9)

    @property
    def phase(self):
        return self.session.phase

    def step(self, count=1):
        """Go through control periods; returns what was executed in each."""
        executed = []
        for _ in range(count):
            self.backend.now_s = self.now_s
            executed.append(self.session.step(self.now_s, self.stamp_ns))
            for substep in range(SUBSTEPS):
                share = (substep + 1) / SUBSTEPS
                self.session.motion.send(share, self.stamp_ns + round(share * self.period_s * 1e9))
            self.now_s += self.period_s
        return executed

    @property
    def period_s(self):
        return self.contract.period_ns / 1e9

    def open_gate(self):
        """Wait until the arm is ready."""
        self.until(Phase.READY)
        return self

    def until(self, phase, limit=400):
        for _ in range(limit):
            if self.phase == phase:
                return self
            self.step()
        raise AssertionError(f"{self.phase}: {self.session.reason}; {self.session.problems}")

    def send(self, chunk, source="", age_s=0.0, epoch=None):
        """A chunk, for the observation of now."""
        self.sequence += 1
        chunk = Chunk(
            np.asarray(chunk, dtype=np.float32),
            self.stamp_ns - round(age_s * 1e9),
            self.session.chunks.epoch if epoch is None else epoch,
            self.sequence,
            source,
        )
        return self.session.take_chunk(chunk, self.stamp_ns)

    def move(self, steps=8, source="", action=(0.3, 0, 0, 0, 0, 0, 1)):
        """Send a chunk and execute it."""
        assert self.send(np.tile(action, (steps, 1)), source)
        return self.step(steps)
