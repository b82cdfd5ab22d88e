# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a bridge does with an arm, step by step: the gate, the motion, and every way to a stop.

No ROS in here: time is passed in, chunks come as arrays, and the arm is a `Backend`. One thread.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from diwa.control.arm import ArmState
from diwa.control.robots import RobotLimits
from diwa.data.contract import Contract
from diwa_ros.arm_chunks import Chunk, ChunkIntake
from diwa_ros.arm_errands import Errands
from diwa_ros.arm_gate import ArmGate
from diwa_ros.arm_guards import Guards, Phase, Verdict
from diwa_ros.arm_homing import StraightHome
from diwa_ros.arm_motion import ArmMotion
from diwa_ros.arm_rules import Rules
from diwa_ros.backends.base import Backend
from diwa_ros.table import Executed

ACTIVE = (Phase.READY, Phase.MOVING, Phase.HOLDING)
REST_STEPS = 3  # control periods that a stop goes on sending the pose at which it comes to rest
HOME_SPEED = 0.4  # of the highest speed, where the bridge leads the arm home itself
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
        chunks: that came in; their epoch is a new one whenever the gate is passed again.
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
        self.guards = Guards(limits, rules.require_enable, rules.stop_after_s)
        self.motion = ArmMotion(backend, limits, contract, rules.fade_steps)
        self.chunks = ChunkIntake(self.motion.schedule, contract, rules)
        self._backend = backend
        self._rules = rules
        self._confirmed = confirmed
        self._log = log
        self._gate = ArmGate(backend, limits, contract, rules, self.guards)
        self._errands = Errands(backend, limits, contract.action, rules.start_poses)
        self._passed = False  # the gate, before
        self._stamp_ns = 0  # of the latest step
        self._acted_s = 0.0  # when the latest action was taken
        self._rest = 0  # control steps until a stop ends the stream

    @property
    def confirmed(self) -> bool:
        """Whether the latest source may move at full speed."""
        return not self.chunks.source or self.chunks.source in self._confirmed

    @property
    def speed_scale(self) -> float:
        """Of the motion of actions."""
        return 1.0 if self.confirmed else self._rules.first_speed

    def begin(self, estop: bool) -> None:
        """Watch the arm from now on, and begin at the gate."""
        self.guards.estop = estop
        self._gate.shut()
        self._enter(Phase.GATED)

    # What others want.

    def take_chunk(self, chunk: Chunk, now_ns: int) -> bool:
        """Take a chunk, at `now_ns` [ns] of ROS time; false when it is discarded."""
        chunks = self.chunks
        if not chunks.fits(chunk):
            self.refuse_chunk()
            return False
        fits = self.phase in ACTIVE and chunks.in_time(chunk, now_ns)
        if fits and not len(chunk.actions):
            self.motion.schedule.flush()
            if self.phase == Phase.MOVING:
                self._enter(Phase.READY)
            return True
        before = chunks.source
        if not fits or not chunks.push(chunk, self.motion.targets.desired):
            chunks.discarded += 1
            return False
        if chunk.source != before:
            self._log(f"actions come from {chunk.source[:16] or 'a person or a script'}")
        return True

    def refuse_chunk(self) -> None:
        """A chunk came that does not fit the contract; a sender of several is not to be trusted."""
        self.chunks.discarded += 1
        if self.chunks.misfits.push() and self.phase in ACTIVE:
            self.stop(f"{self.chunks.misfits.length} chunks in a row do not fit the contract")

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
        if self.phase in (*ACTIVE, Phase.HOMING) or self._errands.busy:
            return ""
        self.motion.end()
        self._log("recovering")
        self._errands.recover(now_s)
        return ""

    def home(self, now_s: float) -> str:
        """Begin to move to the start; returns why that cannot be, or empty."""
        if self.phase == Phase.HOMING:
            return ""
        if self.phase not in (Phase.GATED, Phase.READY, Phase.HOLDING):
            return f"the arm is {self.phase.name.lower()}; {self.reason or 'end the skill first'}"
        state = self.state = self._backend.state()  # where the arm is now, not a period ago
        if state is not None:
            now_s = max(now_s, state.stamp_s)
        problems = self._gate.home_problems(state, now_s)
        if problems or state is None:
            return "; ".join(problems)
        self.motion.end()
        problem = self._errands.home(state, now_s)
        if problem:
            self._enter(Phase.GATED)
            return problem
        if self._errands.straight is not None:
            self._begin(state)
        self._enter(Phase.HOMING, "on the way to the start pose")
        return ""

    def close(self, stamp_ns: int) -> None:
        """Stop where the arm is, now."""
        self._errands.give_up()
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
        if self._errands.straight is not None:
            return self._lead_home(self._errands.straight, state, now_s, stamp_ns)
        return self._execute(state, now_s, stamp_ns)

    def _execute(self, state: ArmState, now_s: float, stamp_ns: int) -> Executed:
        action = self.motion.schedule.pop(stamp_ns)
        if action is not None:
            self._acted_s = now_s
            self._enter(Phase.MOVING)
            executed = self.motion.act(action, state, self.speed_scale, now_s, stamp_ns)
            if self.motion.rejected >= self._rules.most_bad:
                reason = f"{self.motion.rejected} actions in a row are no numbers"
                self._halt(Verdict(Phase.STOPPED, reason))
            return executed
        waited = now_s - self._acted_s
        if self.phase == Phase.HOLDING and self.reason != NO_ACTIONS:
            self._enter(Phase.READY)
        elif self.phase != Phase.READY and waited > self._rules.stop_after_s and self.chunks.source:
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
            self._errands.give_up()
            self.motion.end()
            self._enter(Phase.GATED)
            return self.motion.idle(stamp_ns)
        action = home.action(desired, self.motion.gripper)
        return self.motion.lead(action, state, HOME_SPEED, stamp_ns)

    def _try_gate(self, now_s: float, stamp_ns: int) -> None:
        self.problems = self._gate.start_problems(self.state, now_s)
        if self.problems or self._errands.busy or self.state is None:
            self._gate.shut()
            return
        if not self._gate.opens(now_s):
            return
        self.chunks.begin(self.chunks.epoch + self._passed, stamp_ns)
        self._begin(self.state)
        self._passed = True
        self._enter(Phase.READY)

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
        self._errands.give_up()
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
        problem = self._errands.outcome(now_s)
        if problem is None:
            return
        self._errands.give_up()
        if not problem:
            self._enter(Phase.GATED)
        elif self.phase == Phase.HOMING:
            self._halt(Verdict(Phase.STOPPED, f"the way home failed: {problem}"))
        else:
            self._enter(self.phase, f"the recovery failed: {problem}")

    def _enter(self, phase: Phase, reason: str = "") -> None:
        if phase != self.phase:
            self._log(f"{phase.name.lower()}{': ' if reason else ''}{reason}")
            self._gate.shut()
            if phase != Phase.GATED:
                self.problems = []
        self.phase, self.reason = phase, reason
