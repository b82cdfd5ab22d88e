# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: a Franka arm as a robot on topics, like the simulated one."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import NamedTuple

from diwa_msgs.msg import ActionChunk, RobotStatus
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.timer import Timer
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from diwa.data.contract import Contract
from diwa.errors import ConfigError
from diwa_ros import qos
from diwa_ros.arm_chunks import Chunk
from diwa_ros.arm_guards import Phase
from diwa_ros.arm_observations import ArmPublisher
from diwa_ros.arm_session import ArmSession
from diwa_ros.arm_settings import declare_settings
from diwa_ros.arm_status import Figures, Rate, fill_status, report
from diwa_ros.backends import make_backend
from diwa_ros.backends.base import Backend, Setup
from diwa_ros.confirmed import ConfirmedSources
from diwa_ros.conversions import decode_chunk, time_ns
from diwa_ros.diagnostics import Diagnostics, Report
from diwa_ros.lifecycle import LifecycleNode, lasting_logger
from diwa_ros.running import run_node
from diwa_ros.stop_inputs import StopInputs
from diwa_ros.ticks import Ticks

STATUS_PERIOD_S = 0.1
PERIOD_TOLERANCE = 0.1  # a chunk's step period may differ by this share


class Arm(NamedTuple):
    """What exists while the node is configured."""

    contract: Contract
    backend: Backend
    session: ArmSession
    publisher: ArmPublisher
    confirmed: ConfirmedSources
    state_age_s: float  # observations of older states are not published


class FrankaBridge(LifecycleNode):
    """Gives a session time and messages, and publishes what it does."""

    def __init__(self) -> None:
        super().__init__("franka_bridge")
        self._settings = declare_settings(self)
        self._arm: Arm | None = None
        self._backend: Backend | None = None
        self._timer: Timer | None = None
        self._ticks = Ticks(1.0, 1)
        self._estop = False
        self._sent = Rate()
        self._notes: list[str] = []
        self._logged: set[str] = set()
        self._message = RobotStatus(backend=self._settings.backend)
        self._status = self.create_publisher(RobotStatus, "~/status", qos.STATUS)
        self.create_subscription(ActionChunk, "action_chunk", self._on_chunk, qos.COMMAND)
        self._stops = StopInputs(self, self._on_estop, self._on_enable)
        for name in ("home", "recover", "stop", "confirm"):
            self.create_service(Trigger, f"~/{name}", getattr(self, f"_on_{name}"))
        self.create_timer(STATUS_PERIOD_S, self._publish_status)
        self._diagnostics = Diagnostics(self, self._report)

    def load(self) -> None:
        """Connect to the arm; nothing moves."""
        settings = self._settings
        contract, limits, rules = settings.load()
        substeps = math.ceil(settings.command_rate_hz / contract.rate_hz)
        self._ticks = Ticks(1 / contract.rate_hz, substeps)
        setup = Setup(
            node=self,
            limits=limits,
            contract=contract,
            preset=settings.preset_path,
            robot_ip=settings.robot_ip,
            command_rate_hz=substeps * contract.rate_hz,
        )
        confirmed = ConfirmedSources(Path(settings.confirmed_file).expanduser(), limits.name)
        self._backend = make_backend(settings.backend, setup)
        self._backend.connect()
        self._message.robot = limits.name
        self._arm = Arm(
            contract,
            self._backend,
            ArmSession(self._backend, limits, contract, rules, confirmed, self._log),
            ArmPublisher(self, contract),
            confirmed,
            limits.guard.state_age,
        )

    def start(self) -> None:
        """Begin to watch the arm; it is held as soon as the start gate opens."""
        assert self._arm is not None, "load comes before"
        self._arm.session.begin(self._estop)
        self._ticks.start(time.monotonic())
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self._ticks.tick_s, self._on_tick, clock=steady)

    def stop(self) -> None:
        """Bring the arm to rest where it is, and send nothing more."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        if self._arm is not None:
            self._arm.session.close(self._now_ns())

    def release(self) -> None:
        """Let go of the arm."""
        arm, self._arm = self._arm, None
        backend, self._backend = self._backend, None
        if arm is not None:
            arm.publisher.close()
        if backend is not None:
            backend.close()

    def _on_tick(self) -> None:
        arm, now_s = self._arm, time.monotonic()
        if arm is None:
            return
        if self._ticks.begins_period(now_s):
            self._on_period(arm, now_s)
            now_s = time.monotonic()
        if arm.session.motion.send(self._ticks.share(now_s), self._now_ns()):
            self._sent.add(now_s)

    def _on_period(self, arm: Arm, now_s: float) -> None:
        session, stamp_ns = arm.session, self._now_ns()
        before = session.phase
        executed = session.step(now_s, stamp_ns)
        state = session.state
        if state is not None and now_s - state.stamp_s <= arm.state_age_s:
            arm.publisher.observation(state, session.motion.commanded_width, stamp_ns)
        arm.publisher.executed(executed, session.chunks.epoch)
        if session.phase != before:
            self._publish_status()

    def _on_chunk(self, message: ActionChunk) -> None:
        arm = self._arm
        if arm is None:
            return
        try:
            actions = decode_chunk(message, arm.contract.action)
            self._check_period(message, arm.contract)
        except ConfigError as error:
            arm.session.refuse_chunk()
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        stamp_ns = time_ns(message.header.stamp)
        chunk = Chunk(actions, stamp_ns, message.epoch, message.sequence, message.source)
        arm.session.take_chunk(chunk, self._now_ns())

    def _check_period(self, message: ActionChunk, contract: Contract) -> None:
        period_s = contract.period_ns / 1e9
        if message.steps and abs(message.step_period - period_s) > PERIOD_TOLERANCE * period_s:
            raise ConfigError(
                "action chunk with another step period",
                got=f"{message.step_period:.4f} s",
                expected=f"{period_s:.4f} s",
                hint="the publisher and this node use different contracts",
            )

    def _on_estop(self, message: Bool) -> None:
        self._estop = message.data
        if self._arm is not None:
            self._arm.session.set_estop(message.data)
            self._publish_status()

    def _on_enable(self, message: Bool) -> None:
        if self._arm is not None:
            self._arm.session.guards.switch.push(message.data, time.monotonic())

    def _on_home(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._arm is None or self._timer is None:
            return _answer(response, "the bridge is not active")
        return _answer(response, self._arm.session.home(time.monotonic()))

    def _on_recover(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._arm is None or self._timer is None:
            return _answer(response, "the bridge is not active")
        return _answer(response, self._arm.session.recover(time.monotonic()))

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._arm is not None and self._timer is not None:
            self._arm.session.stop("stopped by request")
        return _answer(response, "")

    def _on_confirm(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        arm = self._arm
        if arm is None or not arm.session.chunks.source:
            return _answer(response, "no checkpoint has moved the arm yet")
        try:
            arm.confirmed.add(arm.session.chunks.source)
        except (ConfigError, OSError) as error:
            return _answer(response, str(error))
        self.get_logger().info(f"checkpoint {arm.session.chunks.source[:16]} is confirmed")
        return _answer(response, "")

    def _publish_status(self) -> None:
        status, arm = self._message, self._arm
        if arm is None:
            status.state = int(Phase.UNCONFIGURED)
        else:
            fill_status(
                status, arm.session, self._timer is not None, time.monotonic(), self._figures()
            )
        status.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(status)

    def _report(self) -> Report:
        arm = self._arm
        if arm is not None:
            notes = arm.backend.notes()
            for note in notes:  # what is seen twice is not just late
                if note in self._notes and note not in self._logged:
                    self._logged.add(note)
                    self.get_logger().warning(note)
            self._notes = notes
        session = None if arm is None else arm.session
        return report(session, self._timer is not None, time.monotonic(), self._figures())

    def _figures(self) -> Figures:
        rate = self._sent.per_second(time.monotonic())
        return Figures(self._ticks.missed, rate, self._notes)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _log(self, text: str) -> None:
        lasting_logger(self).info(text)


def _answer(response: Trigger.Response, problem: str) -> Trigger.Response:
    response.success, response.message = not problem, problem
    return response


def main() -> int:
    """Run the node."""
    return run_node(FrankaBridge)


if __name__ == "__main__":
    raise SystemExit(main())
