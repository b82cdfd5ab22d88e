# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How a bridge to an arm is, for people and for the policy server."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import NamedTuple

from diwa_msgs.msg import RobotStatus

from diwa.control.arm import MODE_NAMES, UNKNOWN
from diwa_ros.arm_guards import Phase
from diwa_ros.arm_session import ArmSession
from diwa_ros.diagnostics import ERROR, OK, WARN, Report

LEVELS = {Phase.READY: OK, Phase.MOVING: OK, Phase.HOMING: OK, Phase.REFLEX: ERROR}
NEW_SOURCE = "this checkpoint is new here: it moves slowly until it is confirmed"


class Rate:
    """Events during the last second."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now_s: float) -> None:
        """Count one."""
        self._times.append(now_s)

    def per_second(self, now_s: float) -> float:
        """Events since a second before `now_s` [Hz]."""
        while self._times and self._times[0] < now_s - 1.0:
            self._times.popleft()
        return float(len(self._times))


class Figures(NamedTuple):
    """What the session does not know."""

    missed_periods: int
    command_rate: float  # [Hz]
    notes: list[str]  # features that are off


def fill_status(
    status: RobotStatus, session: ArmSession, active: bool, now_s: float, figures: Figures
) -> None:
    """Set everything of a status but header, robot and backend."""
    phase = session.phase if active else Phase.INACTIVE
    state = session.state
    status.state = int(phase)
    status.reason = session.reason
    if phase == Phase.MOVING and not session.confirmed:
        status.reason = NEW_SOURCE
    status.problems = session.problems if phase == Phase.GATED else []
    status.errors = list(state.errors) if state else []
    status.robot_mode = state.robot_mode if state else UNKNOWN
    status.speed_scale = session.speed_scale
    status.source, status.confirmed = session.chunks.source, session.confirmed
    status.epoch, status.steps = session.chunks.epoch, session.motion.steps
    status.chunks_discarded = session.chunks.discarded
    status.missed_periods = figures.missed_periods
    status.state_age = now_s - state.stamp_s if state else float("inf")
    status.command_rate = figures.command_rate


def report(session: ArmSession | None, active: bool, now_s: float, figures: Figures) -> Report:
    """For `/diagnostics`."""
    if session is None:
        return Report(WARN, "not configured", {})
    if not active:
        return Report(OK, "inactive", {})
    state = session.state
    values: dict[str, object] = {
        "phase": session.phase.name,
        "epoch": session.chunks.epoch,
        "steps": session.motion.steps,
        "targets per second": figures.command_rate,
        "missed control periods": figures.missed_periods,
        "chunks discarded": session.chunks.discarded,
        "late steps": session.motion.schedule.late_steps,
        "speed scale": session.speed_scale,
        **asdict(session.motion.targets.counts),
    }
    if state is not None:
        values["state age [ms]"] = 1000 * (now_s - state.stamp_s)
        values["mode"] = MODE_NAMES.get(state.robot_mode, str(state.robot_mode))
        if state.success_rate is not None:
            values["success rate"] = state.success_rate
    values |= {f"off {index}": note for index, note in enumerate(figures.notes, 1)}
    text = session.reason or "; ".join(session.problems) or session.phase.name.lower()
    return Report(LEVELS.get(session.phase, WARN), text, values)
