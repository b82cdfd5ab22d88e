# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The libfranka backend's decisions, with a stand-in for franky where no arm answers."""

from __future__ import annotations

import builtins
import logging
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from diwa.config import load_config
from diwa.control.arm import IDLE, MOVE, REFLEX
from diwa.control.robots import load_robot
from diwa.control.targets import Target
from diwa.errors import ConfigError
from diwa_ros.backends import make_backend
from diwa_ros.backends.base import Setup
from diwa_ros.backends.libfranka import Libfranka
from diwa_ros.backends.libfranka_link import LibfrankaSettings
from waiting import until

POSE = np.array([0.5, 0.0, 0.4, 1.0, 0.0, 0.0, 0.0])
QUICK = {"realtime": "ignore", "hand": False, "command_age": 0.05, "connect_timeout": 0.3}


class FakeArm:
    """What a control box would know, shared by everything that is connected to it."""

    def __init__(self):
        self.mode = IDLE
        self.errors = set()
        self.milliseconds = 0
        self.targets = []  # pose and twist as handed on
        self.in_control = False
        self.fault = None  # raised to whoever asks how the motion went
        self.refuses = None  # raised to whoever connects
        self.deaf = threading.Event()  # answers nobody while set
        self.dead = None  # raised to whoever reads


def fake_franky(arm: FakeArm) -> ModuleType:
    module = ModuleType("franky")

    def error(name, base):
        return type(name, (base,), {})

    module.Exception = error("Exception", builtins.Exception)
    module.GripperException = error("GripperException", builtins.Exception)
    for name in ("NetworkException", "ControlException", "RealtimeException"):
        setattr(module, name, error(name, module.Exception))

    class Errors:
        cartesian_reflex = False

    class State:
        def __init__(self):
            arm.milliseconds += 1
            self.time = SimpleNamespace(to_msec=lambda now=arm.milliseconds: now)
            self.O_T_EE = SimpleNamespace(translation=POSE[:3], quaternion=POSE[3:])
            self.q, self.dq = np.zeros(7), np.zeros(7)
            self.O_F_ext_hat_K = np.zeros(6)
            self.robot_mode = SimpleNamespace(value=arm.mode)
            self.current_errors = SimpleNamespace(cartesian_reflex=bool(arm.errors))
            self.control_command_success_rate = 1.0

    class Robot:
        model = SimpleNamespace(zero_jacobian=lambda frame, state: np.eye(6, 7))

        def __init__(self, address, realtime_config):
            while arm.deaf.is_set():
                time.sleep(0.01)
            if arm.refuses:
                raise arm.refuses

        def set_collision_behavior(self, torque, force):
            arm.thresholds = (torque, force)

        @property
        def state(self):
            if arm.dead:
                raise arm.dead
            return State()

        def move(self, motion, asynchronous):
            arm.in_control, arm.mode = False, IDLE

        def join_motion(self, timeout):
            return True

        def poll_motion(self):
            fault, arm.fault = arm.fault, None
            if fault:
                raise fault
            return False

        def recover_from_errors(self):
            arm.mode, arm.errors = IDLE, set()
            return True

    class Tracker:
        def __init__(self, robot, **options):
            arm.options = options
            arm.in_control, arm.mode = True, MOVE

        is_running = property(lambda self: arm.in_control)

        def set_target(self, pose, twist):
            arm.targets.append((pose, twist))

    module.Errors, module.Robot, module.CartesianImpedanceTracker = Errors, Robot, Tracker
    module.RealtimeConfig = SimpleNamespace(Enforce="enforce", Ignore="ignore")
    module.Frame = SimpleNamespace(EndEffector=0)
    module.PostureTask = lambda joints, stiffness: (joints, stiffness)
    module.TorqueStopMotion = lambda: "rest"
    module.Affine = lambda position, quaternion: np.concatenate([position, quaternion])
    module.Twist = lambda linear, angular: np.concatenate([linear, angular])
    return module


@pytest.fixture
def arm(monkeypatch):
    arm = FakeArm()
    arm.franky = fake_franky(arm)
    monkeypatch.setitem(sys.modules, "franky", arm.franky)
    yield arm
    arm.deaf.clear()


@pytest.fixture
def make(lowdim_contract):
    made = []

    def make(address="10.0.0.1", **settings):
        node = SimpleNamespace(get_logger=lambda: logging.getLogger("backend"))
        setup = Setup(node, load_robot("fr3"), lowdim_contract, Path("-"), address, 60.0)
        made.append(Libfranka(setup, LibfrankaSettings(**{**QUICK, **settings})))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def streaming(backend, arm):
    backend.connect()
    until(backend.state)
    backend.start(POSE)
    until(lambda: arm.in_control)
    return backend


def target(x, speed=0.1):
    return Target(POSE + x * np.eye(7)[0], np.array([speed, 0, 0, 0, 0, 0]))


def test_shipped_settings_are_the_defaults(root):
    shipped = load_config(LibfrankaSettings, root / "config/backends/libfranka.yaml")
    assert shipped == LibfrankaSettings()
    assert shipped.realtime == "enforce"


def test_without_the_wheel_the_user_is_told_what_to_install(monkeypatch, root, make):
    monkeypatch.setitem(sys.modules, "franky", None)
    with pytest.raises(ConfigError, match="pip install franky-control"):
        make().connect()
    setup = make()._setup._replace(preset=root / "config/backends/libfranka.yaml")
    assert make_backend("libfranka", setup).name == "libfranka"  # to make one needs no wheel


def test_no_address_is_a_mistake_of_the_user(arm, make):
    with pytest.raises(ConfigError, match="robot_ip"):
        make(address="").connect()


def test_arm_that_never_answers_is_given_up(arm, make):
    arm.deaf.set()
    with pytest.raises(ConfigError, match="only one program"):
        make().connect()


@pytest.mark.parametrize(
    ("kind", "hint"), [("RealtimeException", "real-time kernel"), ("NetworkException", "cable")]
)
def test_refusal_comes_with_advice(arm, make, kind, hint):
    arm.refuses = getattr(arm.franky, kind)("libfranka: no")
    with pytest.raises(ConfigError, match=hint):
        make().connect()


def test_thresholds_and_stiffness_are_those_of_the_robot_file(arm, make):
    backend, limits = streaming(make(), arm), load_robot("fr3")
    guard = limits.guard
    assert arm.thresholds == (guard.collision_torque, guard.collision_force)
    assert arm.options["translational_stiffness"] == limits.stiffness.translation
    assert arm.options["rotational_stiffness"] == limits.stiffness.rotation
    assert (arm.options["translational_error_clip"] == limits.motion.leash_m).all()
    state = until(backend.state)
    assert (state.pose == POSE).all()
    assert state.manipulability == pytest.approx(1.0)


def test_nothing_is_handed_on_before_the_start(arm, make):
    backend = make()
    backend.connect()
    backend.send(target(0.01), 0)
    until(backend.state)
    assert not arm.targets


def test_twist_ends_when_targets_stop_coming(arm, make):
    backend = streaming(make(), arm)
    backend.send(target(0.01), 0)
    until(lambda: len(arm.targets) > 2 and not arm.targets[-1][1].any())
    assert arm.targets[-1][0] == pytest.approx(target(0.01).pose)


def test_stop_ends_the_motion_and_a_late_target_moves_nothing(arm, make):
    backend = streaming(make(), arm)
    backend.stop()
    until(lambda: not arm.in_control)
    count = len(arm.targets)
    backend.send(target(0.01), 0)
    assert len(arm.targets) == count


def test_reflex_is_left_to_the_state_to_tell(arm, make):
    backend = streaming(make(), arm)
    arm.fault = arm.franky.ControlException("libfranka: reflex")
    arm.mode, arm.errors, arm.in_control = REFLEX, {"cartesian_reflex"}, False
    state = until(lambda: backend.state() if backend.state().errors else None)
    assert (state.robot_mode, state.errors) == (REFLEX, ("cartesian_reflex",))
    until(lambda: arm.fault is None)
    assert backend.problems() == []
    assert backend.recover().result(20.0) == ""
    until(lambda: not backend.state().errors)


def test_motion_that_ends_by_itself_shuts_the_gate_until_recovery(arm, make):
    backend = streaming(make(), arm)
    arm.fault = arm.franky.ControlException("libfranka: Move command\naborted")
    arm.mode, arm.in_control = IDLE, False
    until(backend.problems)
    assert backend.problems() == ["Move command aborted: call ~/recover"]
    backend.start(POSE)
    assert backend.recover().result(20.0) == ""
    assert not arm.in_control  # what was asked for before the recovery began nothing
    assert backend.problems() == []


def test_lost_connection_is_told_and_made_again_by_recovery(arm, make):
    backend = streaming(make(), arm)
    arm.dead = RuntimeError("Net Exception")
    until(backend.problems)
    assert "connection to the arm lost" in backend.problems()[0]
    arm.refuses = arm.franky.NetworkException("libfranka: no route")
    assert "no route" in backend.recover().result(20.0)
    assert backend.problems()
    arm.dead = arm.refuses = None
    assert backend.recover().result(20.0) == ""
    assert backend.problems() == []
    before = backend.state().stamp_s
    until(lambda: backend.state().stamp_s > before)


def test_state_that_stands_still_is_not_taken_for_a_new_one(arm, make, monkeypatch):
    backend = make()
    backend.connect()
    until(backend.state)
    frozen = arm.franky.Robot.state.fget(SimpleNamespace())
    monkeypatch.setattr(arm.franky.Robot, "state", frozen)
    until(lambda: backend._robot_time_ms == frozen.time.to_msec())
    stamp = backend.state().stamp_s
    time.sleep(0.05)
    assert backend.state().stamp_s == stamp
