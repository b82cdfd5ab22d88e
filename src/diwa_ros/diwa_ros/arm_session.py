# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a bridge does with an arm, step by step: the gate, the motion, and every way to a stop.

No ROS in here: time is passed in, chunks come as arrays, and the arm is a `Backend`. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import numpy as np

from diwa.control.arm import ArmState
from diwa.control.gate import StartGate
from diwa.control.robots import RobotLimits
from diwa.data.contract import Contract
from diwa_ros.arm_guards import Guards, Phase, Verdict
from diwa_ros.arm_homing import StraightHome
from diwa_ros.arm_motion import ArmMotion
from diwa_ros.arm_rules import Rules, RunningJob
from diwa_ros.backends.base import Backend
from diwa_ros.table import Executed

ACTIVE = (Phase.READY, Phase.MOVING, Phase.HOLDING)
REST_STEPS = 3  # control periods that a stop goes on sending the pose at which it comes to rest
HOME_SPEED = 0.4  # of the highest speed, where the bridge leads the arm home itself
RECOVERY_S = 30.0  # longest recovery
NO_ACTIONS = "no actions arrive"


class ArmSession:
    """Drives a backend: `step` once per control period, `motion.send` whenever a target is due.

    Args:
        backend: connected.
        limits: of the robot.
        contract: of the robot.
        rules: see there.
        confirmed: sources of chunks that may move at full speed.
        log: told about everything that a person should know.

    Attributes:
        phase, reason: what it does and why.
        problems: what keeps the gate shut.
        state: of the arm, at the latest step.
        epoch: of the chunks that are taken; begins anew when the gate is passed again.
        source: of the latest chunk.
        discarded: chunks that were not taken.
    """

    def __init__(
        self,
        backend: Backend,
        limits: RobotLimits,
        contract: Contract,
        rules: Rules,
        confirmed: Container[str],
        log: Callable[[str], None],
    ) -> None:
        self.phase, self.reason = Phase.GATED, ""
        self.problems: list[str] = []
        self.state: ArmState | None = None
        self.epoch = 0
        self.source = ""
        self.discarded = 0
        self.guards = Guards(limits, rules.require_enable, rules.stop_after_s)
        self.motion = ArmMotion(backend, limits, contract, rules.fade_steps)
        self._backend = backend
        self._limits = limits
        self._contract = contract
        self._rules = rules
        self._confirmed = confirmed
        self._log = log
        self._gate = StartGate(limits, contract.workspace)
        self._passed = False  # the gate, before
        self._free_s: float | None = None  # since when the gate is free
        self._seeded_ns = 0  # observations before this are of another time
        self._stamp_ns = 0  # of the latest step
        self._acted_s = 0.0  # when the latest action was taken
        self._rest = 0  # control steps until a stop ends the stream
        self._home: StraightHome | None = None
        self._job: RunningJob | None = None  # of the backend: recovery, or the way home

    @property
    def confirmed(self) -> bool:
        """Whether the latest source may move at full speed."""
        return not self.source or self.source in self._confirmed

    @property
    def speed_scale(self) -> float:
        """Of the motion of actions."""
        return 1.0 if self.confirmed else self._rules.first_speed

    def begin(self, estop: bool) -> None:
        """Watch the arm from now on, and begin at the gate."""
        self.guards.estop = estop
        self._free_s = None
        self._enter(Phase.GATED)

    # What others want.

    def take_chunk(
        self, chunk: np.ndarray, stamp_ns: int, epoch: int, sequence: int, source: str, now_ns: int
    ) -> bool:
        """Take a chunk (Ta, 7) of `source`; of no rows: hold. False when it is discarded.

        Args:
            chunk: actions; their values are the safety filter's affair.
            stamp_ns: of the observation that it was computed from, ROS time [ns].
            epoch: of that observation.
            sequence: the sender's count.
            source: checkpoint that made it; empty: a person or a script.
            now_ns: ROS time [ns].
        """
        age, oldest = now_ns - stamp_ns, int(self._rules.chunk_age_s * 1e9)
        fits = (
            self.phase in ACTIVE
            and epoch == self.epoch
            and stamp_ns >= self._seeded_ns
            and -self._contract.period_ns <= age <= oldest
        )
        if fits and not len(chunk):
            self.motion.schedule.flush()
            if self.phase == Phase.MOVING:
                self._enter(Phase.READY)
            return True
        schedule = self.motion.schedule
        if not fits or not schedule.push(
            chunk, stamp_ns, epoch, sequence, self.motion.targets.desired
        ):
            self.discarded += 1
            return False
        if source != self.source:
            self._log(f"actions come from {source[:16] or 'a person or a script'}")
        self.source = source
        return True

    def set_estop(self, on: bool) -> None:
        """The emergency stop was pressed or released."""
        pressed, self.guards.estop = on and not self.guards.estop, on
        if pressed:
            self.stop("emergency stop")

    def stop(self, reason: str) -> None:
        """Come to rest and stay there until `recover`."""
        if self.phase not in (Phase.STOPPED, Phase.REFLEX):
            self._halt(Verdict(Phase.STOPPED, reason))

    def recover(self, now_s: float) -> str:
        """Clear the arm's errors and go back to the gate; returns why that cannot be, or empty."""
        if self.guards.estop:
            return "the emergency stop is on: release it first"
        if self.phase in (*ACTIVE, Phase.HOMING) or self._job is not None:
            return ""
        self.motion.end()
        self._log("recovering")
        self._job = RunningJob(self._backend.recover(), now_s + RECOVERY_S)
        return ""

    def home(self, now_s: float) -> str:
        """Begin to move to the start; returns why that cannot be, or empty."""
        if self.phase == Phase.HOMING:
            return ""
        if self.phase not in (Phase.GATED, Phase.READY, Phase.HOLDING):
            return f"the arm is {self.phase.name.lower()}; {self.reason or 'end the skill first'}"
        state, problems = self.state, self._problems(now_s)
        if problems or state is None:
            return "; ".join(problems)
        self.motion.end()
        joints, timeout = np.array(self._limits.home.joints), self._limits.home.timeout
        job = self._backend.home(joints, timeout)
        if job is not None:
            self._job = RunningJob(job, now_s + timeout)
        else:
            poses = self._rules.start_poses
            if poses is None or not len(poses):
                self._enter(Phase.GATED)
                return "nobody here can lead the arm home: give the bridge start_poses"
            spec = self._contract.action
            self._home = StraightHome(state.pose, poses, self._limits, spec, now_s)
            self._begin(state)
        self._enter(Phase.HOMING, "on the way to the start pose")
        return ""

    def close(self, stamp_ns: int) -> None:
        """Stop where the arm is, now."""
        self._give_up()
        self.motion.halt(stamp_ns)

    # What happens in every control period.

    def step(self, now_s: float, stamp_ns: int) -> Executed:
        """One control period: look at the arm, decide, move the desired pose.

        Args:
            now_s: monotonic time [s].
            stamp_ns: of this step's observation, ROS time [ns].
        """
        self.state = state = self._backend.state()
        blocked = False
        if stamp_ns <= self._stamp_ns and self.phase in ACTIVE:
            self._halt(Verdict(Phase.STOPPED, "the clock was set back"))
        self._stamp_ns = stamp_ns
        self._follow_job(now_s)
        if self.phase == Phase.GATED:
            self._try_gate(now_s, stamp_ns)
        elif self.phase in (*ACTIVE, Phase.HOMING):
            blocked = self._watch(now_s)
        if self.phase == Phase.STOPPED and self.motion.sending:
            self._rest -= 1
            others, problems = self._backend.publishers(), self._backend.problems()
            if self._rest < 0 or self.guards.must_end(state, others, problems):
                self.motion.end()
        if not self.motion.sending or state is None:
            return self.motion.idle(stamp_ns)
        if blocked or self.phase == Phase.STOPPED:
            return self.motion.hold(state, stamp_ns)
        if self._home is not None:
            return self._lead_home(self._home, state, now_s, stamp_ns)
        return self._execute(state, now_s, stamp_ns)

    def _execute(self, state: ArmState, now_s: float, stamp_ns: int) -> Executed:
        action = self.motion.schedule.pop(stamp_ns)
        if action is not None:
            self._acted_s = now_s
            self._enter(Phase.MOVING)
            return self.motion.act(action, state, self.speed_scale, now_s, stamp_ns)
        waited = now_s - self._acted_s
        if self.phase == Phase.HOLDING and self.reason != NO_ACTIONS:
            self._enter(Phase.READY)
        elif self.phase != Phase.READY and waited > self._rules.stop_after_s and self.source:
            self._halt(Verdict(Phase.STOPPED, "the policy sends no actions any more"))
        elif self.phase == Phase.MOVING and waited > self._rules.hold_after_s:
            self._enter(Phase.HOLDING, NO_ACTIONS)
        return self.motion.hold(state, stamp_ns)

    def _lead_home(
        self, home: StraightHome, state: ArmState, now_s: float, stamp_ns: int
    ) -> Executed:
        desired = self.motion.targets.desired
        if home.late(now_s):
            self._halt(Verdict(Phase.STOPPED, "the way home took too long"))
        elif home.arrived(desired, state.pose):
            self._give_up()
            self.motion.end()
            self._enter(Phase.GATED)
            return self.motion.idle(stamp_ns)
        action = home.action(desired, self.motion.gripper)
        return self.motion.lead(action, state, HOME_SPEED, stamp_ns)

    def _try_gate(self, now_s: float, stamp_ns: int) -> None:
        self.problems = self._problems(now_s, self._rules.start_poses, whole=True)
        if self.problems or self._job is not None or self.state is None:
            self._free_s = None
            return
        self._free_s = now_s if self._free_s is None else self._free_s
        if now_s - self._free_s < self._rules.settle_s:
            return
        self.epoch += self._passed
        self.motion.schedule.set_epoch(self.epoch)
        self._seeded_ns = stamp_ns
        self._begin(self.state)
        self._passed = True
        self._enter(Phase.READY)

    def _problems(
        self, now_s: float, start_poses: np.ndarray | None = None, whole: bool = False
    ) -> list[str]:
        """Why the arm must not start, or (not `whole`) not even go home."""
        if self.guards.estop:
            return ["the emergency stop is on"]
        others = self._backend.publishers()
        if whole or self.state is None:
            found = self._gate.problems(self.state, now_s, max(others, 1), start_poses)
        else:
            found = self._gate.state_problems(self.state, now_s)
            if others > 1:
                found.append(f"{others} nodes send commands to the arm")
        return found + self._backend.problems()

    def _watch(self, now_s: float) -> bool:
        """Look for reasons to stop; whether the arm must not be moved in this step."""
        verdict = self.guards.verdict(
            self.state,
            now_s,
            self._backend.publishers(),
            self._backend.problems(),
            self.motion.stretch(self.state),
        )
        if verdict is None:
            return False
        if verdict.phase == Phase.HOLDING and self.phase != Phase.HOMING:
            self.motion.schedule.flush()
            self._enter(Phase.HOLDING, verdict.reason)
        else:
            self._halt(verdict)
        return True

    def _halt(self, verdict: Verdict) -> None:
        self._give_up()
        self.motion.schedule.flush()
        self._rest = REST_STEPS
        if verdict.at_once:
            self.motion.end()
        phase = Phase.STOPPED if verdict.phase == Phase.HOLDING else verdict.phase
        self._enter(phase, verdict.reason)

    def _begin(self, state: ArmState) -> None:
        self.guards.reset()
        self.motion.begin(state)

    def _follow_job(self, now_s: float) -> None:
        """See whether a recovery, or the way home, has ended."""
        problem = None if self._job is None else self._job.outcome(now_s)
        if problem is None:
            return
        self._give_up()
        if not problem:
            self._enter(Phase.GATED)
        elif self.phase == Phase.HOMING:
            self._halt(Verdict(Phase.STOPPED, f"the way home failed: {problem}"))
        else:
            self._enter(self.phase, f"the recovery failed: {problem}")

    def _give_up(self) -> None:
        job, self._home, self._job = self._job, None, None
        if job is not None and job.give_up():
            self._backend.stop()

    def _enter(self, phase: Phase, reason: str = "") -> None:
        if phase != self.phase:
            self._log(f"{phase.name.lower()}{': ' if reason else ''}{reason}")
            self._free_s = None
            if phase != Phase.GATED:
                self.problems = []
        self.phase, self.reason = phase, reason
