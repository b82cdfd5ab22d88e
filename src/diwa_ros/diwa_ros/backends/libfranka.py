# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Backend: libfranka in this process, for arms without any other controller.

franky's Cartesian impedance follows the targets at 1 kHz, in C++. Here are three threads of Python,
none of them in that loop: one reads the arm's state, one works off what takes time (start, stop,
home, recover), one talks to the hand. If this process dies, the arm stops by itself.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from diwa.config import load_config
from diwa.control.arm import REFLEX, USER_STOPPED, ArmState
from diwa.control.gripper import GripperCommand
from diwa.control.targets import Target
from diwa.errors import ConfigError
from diwa_ros.backends.base import Job, Setup, finished
from diwa_ros.backends.libfranka_hand import Hand
from diwa_ros.backends.libfranka_link import (
    LibfrankaSettings,
    arm_state,
    connect_arm,
    failures,
    import_franky,
    in_words,
)
from diwa_ros.backends.libfranka_motions import (
    REST_TIMEOUT_S,
    JointMove,
    begin_to_rest,
    follow_poses,
)
from diwa_ros.backends.libfranka_work import Work, Works

JOIN_TIMEOUT_S = 5.0
STILL = np.zeros(6)


class Libfranka:
    """See `diwa_ros.backends.base.Backend`."""

    name = "libfranka"

    def __init__(self, setup: Setup, settings: LibfrankaSettings) -> None:
        self._setup = setup
        self._settings = settings
        self._limits = setup.limits
        self._franky: ModuleType | None = None
        self._errors: tuple[type[Exception], ...] = ()
        self._robot: Any = None
        self._hand: Hand | None = None
        self._tracker: Any = None  # while targets are followed
        self._target = Target(np.zeros(7), STILL)  # the newest
        self._sent_s = 0.0
        self._starting = threading.Lock()  # a state is read, or a motion begins: never both
        self._closing = threading.Event()
        self._stops = 0  # how often `stop` was called: ends homing
        self._state: ArmState | None = None
        self._robot_time_ms = -1
        self._failure = ""  # why the last motion ended by itself
        self._lost = "not connected"
        self._works: Works | None = None
        self._watcher: threading.Thread | None = None

    def connect(self) -> None:
        """Connect to arm and hand; nothing moves."""
        self._franky = import_franky()
        self._errors = (*failures(self._franky), ConfigError)
        self._connect()
        self._closing.clear()
        self._works = Works(self._errors, self._on_error)
        self._watcher = threading.Thread(target=self._watch, name="arm state", daemon=True)
        self._watcher.start()

    def state(self) -> ArmState | None:
        """The newest state."""
        return self._state

    def start(self, pose: np.ndarray) -> None:
        """Follow targets from now on."""
        self._keep(Target(np.asarray(pose, dtype=np.float64), STILL))
        self._submit(lambda _: self._begin())

    def send(self, target: Target, stamp_ns: int) -> None:
        """Follow this target."""
        self._keep(target)

    def hold(self) -> None:
        """Stay at the last target."""
        self._keep(Target(self._target.pose, STILL))

    def stop(self) -> None:
        """Come to rest and follow nothing; ends homing as well."""
        self._stops += 1
        self._submit(lambda _: self._end())

    def gripper(self, command: GripperCommand) -> None:
        """Open or close the hand."""
        if self._hand is not None:
            self._hand.command(command)

    def home(self, joints: np.ndarray, timeout_s: float) -> Job:
        """By a motion of the joints, slowly; to cancel the job, or to call `stop`, ends it."""
        stops = self._stops

        def work(job: Job) -> str:
            given_up = lambda: job.cancelled() or self._stops != stops  # noqa: E731
            return self._move_home(np.asarray(joints), timeout_s, given_up)

        return self._submit(work)

    def recover(self) -> Job:
        """Clear errors; connect again where the connection was lost."""
        return self._submit(lambda _: self._recover())

    def publishers(self) -> int:
        """One: the control box lets nobody else in."""
        return 1

    def problems(self) -> list[str]:
        """Of the connection, the last motion, the pose and the hand."""
        found = [text for text in (self._lost, self._failure) if text]
        if self._hand is not None and self._hand.problem:
            found.append(self._hand.problem)
        return found

    def notes(self) -> list[str]:
        """Of what was switched off."""
        found = []
        if self._settings.realtime == "ignore":
            found.append("realtime: ignore is for simulated arms")
        if not self._settings.hand:
            found.append("hand: false: the gripper is not moved")
        return found

    def close(self) -> None:
        """Come to rest, then disconnect."""
        if self._works is not None:
            self.stop()
            self._works.stop()
        self._closing.set()
        if self._watcher is not None:
            self._watcher.join(JOIN_TIMEOUT_S)
        if self._hand is not None:
            self._hand.close()
        self._works = self._watcher = self._hand = self._robot = self._tracker = None
        self._lost = "not connected"

    # --- in whatever thread calls ---

    def _keep(self, target: Target) -> None:
        self._target = target
        self._sent_s = time.monotonic()
        tracker = self._tracker
        if tracker is not None:
            self._hand_on(tracker, target)

    def _hand_on(self, tracker: Any, target: Target) -> None:
        assert self._franky is not None
        pose = self._franky.Affine(target.pose[:3], target.pose[3:])
        tracker.set_target(pose, self._franky.Twist(target.twist[:3], target.twist[3:]))

    def _submit(self, work: Work) -> Job:
        return finished("not connected") if self._works is None else self._works.submit(work)

    # --- in the worker's thread ---

    def _connect(self) -> None:
        assert self._franky is not None
        address, settings = self._setup.robot_ip, self._settings
        self._robot = self._tracker = None  # an old connection would keep the new one out
        robot = connect_arm(self._franky, address, settings, self._limits)
        if settings.hand:
            hand = self._hand or Hand(self._franky, self._limits.gripper)
            hand.connect(address, settings.connect_timeout)
            self._hand = hand
        self._robot, self._lost, self._failure = robot, "", ""

    def _begin(self) -> str:
        with self._starting:
            if self._lost or self._failure or self._tracker is not None:
                return self._lost or self._failure
            self._tracker = follow_poses(self._robot, self._limits, self._settings)
            self._hand_on(self._tracker, self._target)
        return ""

    def _end(self) -> str:
        with self._starting:
            tracker, self._tracker = self._tracker, None
            if tracker is None:
                return ""
            if not tracker.is_running:
                self._explain(self._robot)
                return ""
            begin_to_rest(self._robot)
        return "" if self._robot.join_motion(REST_TIMEOUT_S) else "the arm does not come to rest"

    def _move_home(self, joints: np.ndarray, timeout_s: float, given_up: Callable[[], bool]) -> str:
        self._end()
        if self._lost or self._failure:
            return self._lost or self._failure
        if self._settings.hand_homing and self._hand is not None:
            self._hand.find_width()
        with self._starting:
            if given_up():
                return "given up"
            way = JointMove(self._robot, joints, self._limits, self._settings)
        return way.follow(timeout_s, given_up)

    def _recover(self) -> str:
        self._end()
        if self._lost or (self._hand is not None and self._hand.lost):
            self._connect()
        if not self._robot.recover_from_errors():
            return "the arm could not clear its errors"
        self._failure = ""
        return ""

    def _on_error(self, trace: str) -> None:
        self._setup.node.get_logger().error(f"libfranka:\n{trace}")

    # --- in the watcher's thread ---

    def _watch(self) -> None:
        while not self._closing.wait(1.0 / self._settings.state_rate):
            if self._lost:
                continue
            try:
                self._look()
            except self._errors as error:
                # A read can meet a motion that begins: no reason to give the connection up.
                if type(error).__name__ != "InvalidOperationException":
                    self._lose(in_words(error))
            except Exception:  # whatever it is, the arm is not watched any more
                self._on_error(traceback.format_exc())
                self._lose("see the log")

    def _lose(self, reason: str) -> None:
        self._tracker = None
        self._lost = f"connection to the arm lost ({reason}): call ~/recover"

    def _look(self) -> None:
        with self._starting:
            robot, tracker = self._robot, self._tracker
            running = tracker is None or tracker.is_running
            raw = robot.state
        self._tell(robot, raw)
        if not running:
            with self._starting:
                if self._tracker is tracker:
                    self._tracker = None
                    self._explain(robot)
        elif tracker is not None and time.monotonic() - self._sent_s > self._settings.command_age:
            self.hold()

    def _tell(self, robot: Any, raw: Any) -> None:
        if raw.time.to_msec() == self._robot_time_ms:  # it stands still once nothing arrives
            return
        assert self._franky is not None
        self._robot_time_ms = raw.time.to_msec()
        width = self._hand.width if self._hand is not None else None
        self._state = arm_state(self._franky, robot, raw, time.monotonic(), width)

    def _explain(self, robot: Any) -> None:
        """Find out why a motion ended; what the arm's state says needs no other words."""
        try:
            robot.poll_motion()  # raises the reason
            reason = "the arm has ended its motion"
        except self._errors as error:
            if self._franky is not None and isinstance(error, self._franky.NetworkException):
                raise
            reason = in_words(error)
        state = self._state
        told = state is not None and (state.errors or state.robot_mode in (REFLEX, USER_STOPPED))
        self._failure = "" if told else f"{reason}: call ~/recover"
        self._setup.node.get_logger().warning(f"libfranka: {reason}")


def make(setup: Setup) -> Libfranka:
    """The backend of a preset file."""
    return Libfranka(setup, load_config(LibfrankaSettings, setup.preset))
