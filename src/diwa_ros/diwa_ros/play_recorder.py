# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: records episodes as bags, from serialised messages, by the contract's topics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from diwa_msgs.msg import EpisodeEvent, RecorderStatus
from diwa_msgs.srv import EndEpisode, StartEpisode
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from rclpy.task import Future

from diwa.data.contract import Contract, load_contract
from diwa.data.episode import Outcome
from diwa.errors import ConfigError
from diwa_ros import qos
from diwa_ros.conversions import (
    episode_event,
    fill_recorder_status,
    message_type,
    outcome_name,
    serialized_stamp_ns,
    time_ns,
)
from diwa_ros.diagnostics import ERROR, OK, WARN, Diagnostics, Report
from diwa_ros.lifecycle import LifecycleNode, lasting_logger
from diwa_ros.parameters import declare
from diwa_ros.paths import find_contract
from diwa_ros.recording import Arrival, Arrivals, Recording, next_episode_id
from diwa_ros.running import run_node

STATUS_PERIOD_S = 0.5
WAIT_S = 2.0  # for messages that are still on their way when an episode starts or ends
DEPTH = 500  # messages per topic that may wait while the disk is busy


class PlayRecorder(LifecycleNode):
    """One bag per episode; started and ended by services."""

    def __init__(self) -> None:
        super().__init__("play_recorder")
        self._folder = Path(
            declare(self, "folder", "bags", "folder for the bags, one folder per episode")
        ).expanduser()
        self._prefix = declare(self, "prefix", "episode", "first part of every episode's name")
        self._contract_name = declare(
            self, "contract", "panda_calvin", "contract: a YAML file, or the name of one we ship"
        )
        self._contract: Contract | None = None
        self._inputs: list[Subscription] = []
        self._arrivals = Arrivals()
        self._recording: Recording | None = None  # the open episode
        self._last: Recording | None = None  # the open or the latest one
        self._active = False
        self._recorded = 0
        self._last_error = ""
        self._awaited: Callable[[], bool] | None = None  # what a service waits for
        self._waiting: Future[bool] = Future()
        self._events = self.create_publisher(EpisodeEvent, "~/events", qos.EVENT)
        self._status = self.create_publisher(RecorderStatus, "~/status", qos.STATUS)
        # Services wait for messages: in the default group they would keep those from arriving.
        group = ReentrantCallbackGroup()
        self.create_service(StartEpisode, "~/start_episode", self._on_start, callback_group=group)
        self.create_service(EndEpisode, "~/end_episode", self._on_end, callback_group=group)
        self.create_timer(STATUS_PERIOD_S, self._publish_status)
        self._timeout = self.create_timer(WAIT_S, self._on_timeout)
        self._timeout.cancel()
        self._diagnostics = Diagnostics(self, self._report)

    def load(self) -> None:
        """Read the contract and subscribe to its topics."""
        self._contract = contract = load_contract(find_contract(self._contract_name))
        for stream in contract.observations.values():
            self._subscribe(stream.topic, stream.type, qos.subscription_qos(stream, DEPTH))
        self._subscribe(contract.action.topic, contract.action.type, qos.reliable(DEPTH))

    def start(self) -> None:
        """Accept episodes."""
        self._active = True

    def stop(self) -> None:
        """Accept no more episodes; keep the open one."""
        self._active = False
        if self._recording is not None:
            self._keep(self._recording, "", "unknown", "the recorder was stopped")

    def release(self) -> None:
        """Unsubscribe."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        self._arrivals.clear()

    def _subscribe(self, topic: str, type_name: str, profile: QoSProfile) -> None:
        callback = partial(self._on_message, topic)
        kind = message_type(type_name)
        self._inputs.append(self.create_subscription(kind, topic, callback, profile, raw=True))

    def _on_message(self, topic: str, data: bytes) -> None:
        now_ns = self.get_clock().now().nanoseconds
        arrival = Arrival(topic, serialized_stamp_ns(data), now_ns, data)
        self._arrivals.add(arrival)
        recording = self._recording
        if recording is None:
            return
        self._write(recording, arrival)
        if self._awaited is not None and self._awaited():
            self._waiting.set_result(True)

    def _write(self, recording: Recording, arrival: Arrival) -> None:
        try:
            recording.write(arrival)
        except OSError as error:
            self._fail(f"cannot write {recording.episode_id}: {error}")
            self._discard(recording, self._last_error)

    async def _on_start(
        self, request: StartEpisode.Request, response: StartEpisode.Response
    ) -> StartEpisode.Response:
        if not self._active or self._contract is None:
            response.message = "the recorder is not active"
        elif self._recording is not None:
            response.message = f"{self._recording.episode_id} is open: end it first"
        else:
            try:
                recording = self._open(self._contract, request)
            except (OSError, ConfigError) as error:
                response.message = self._fail(f"cannot start an episode: {error}")
                return response
            await self._wait(lambda: not recording.missing())
            if recording.missing() and self._recording is recording:
                reason = f"nothing arrives on {', '.join(recording.missing())}"
                self._discard(recording, self._fail(reason))
            response.episode_id = recording.episode_id
            response.success = self._recording is recording
            if response.success:
                self._last_error = ""
            response.message = self._last_error
        return response

    def _open(self, contract: Contract, request: StartEpisode.Request) -> Recording:
        start_ns = time_ns(request.start)
        recording = self._recording = self._last = Recording(
            self._folder,
            next_episode_id(self._folder, self._prefix),
            contract,
            task=request.task,
            note=request.note,
            started_ns=self.get_clock().now().nanoseconds,
            start_stamp_ns=start_ns,
        )
        if start_ns:
            for arrival in self._arrivals.latest():
                self._write(recording, arrival)
        self._announce(EpisodeEvent.STARTED, recording)
        return recording

    async def _on_end(
        self, request: EndEpisode.Request, response: EndEpisode.Response
    ) -> EndEpisode.Response:
        recording = self._recording
        if recording is None or self._awaited is not None:
            response.message = "no episode is open" if recording is None else "try again"
            return response
        response.episode_id = recording.episode_id
        end_ns = time_ns(request.end)
        if not await self._wait(lambda: recording.reached(end_ns)):
            self.get_logger().warning("the episode's last messages did not arrive: ended without")
        if self._recording is not recording:  # stopped or failed meanwhile
            response.message = self._last_error or "the recorder was stopped"
        elif request.discard:
            self._discard(recording, request.reason)
            response.success = True
        else:
            outcome = outcome_name(request.outcome)
            response.path = self._keep(recording, request.task, outcome, request.reason)
            response.success = bool(response.path)
            response.message = "" if response.success else self._last_error
        return response

    async def _wait(self, condition: Callable[[], bool]) -> bool:
        """Until messages make `condition` true, at most `WAIT_S`; whether they did."""
        if condition():
            return True
        self._awaited, self._waiting = condition, Future()
        self._timeout.reset()
        await self._waiting
        self._timeout.cancel()
        self._awaited = None
        return condition()

    def _on_timeout(self) -> None:
        self._timeout.cancel()
        self._waiting.set_result(False)

    def _keep(self, recording: Recording, task: str, outcome: Outcome, reason: str) -> str:
        """Finish the open episode; returns its path, or nothing when that fails."""
        self._recording = None
        try:
            path = recording.finish(task, outcome, reason)
        except OSError as error:
            self._fail(f"cannot finish {recording.episode_id}: {error}")
            self._discard(recording, self._last_error)
            return ""
        self._recorded += 1
        self._announce(EpisodeEvent.ENDED, recording, outcome, reason)
        return str(path.absolute())

    def _discard(self, recording: Recording, reason: str) -> None:
        self._recording = None
        try:
            recording.discard()
        except OSError as error:
            self._fail(f"cannot delete {recording.episode_id}: {error}")
        self._waiting.set_result(False)
        self._announce(EpisodeEvent.DISCARDED, recording, reason=reason)

    def _fail(self, message: str) -> str:
        self._last_error = message
        self.get_logger().error(message)
        return message

    def _announce(
        self, kind: int, recording: Recording, outcome: Outcome = "unknown", reason: str = ""
    ) -> None:
        word = {EpisodeEvent.STARTED: "started", EpisodeEvent.ENDED: "ended"}.get(kind, "discarded")
        lasting_logger(self).info(f"{recording.episode_id} {word}, {recording.messages} messages")
        if not self.context.ok():
            return
        event = episode_event(recording.episode_id, kind, recording.task, outcome, reason)
        event.header.stamp = self.get_clock().now().to_msg()
        self._events.publish(event)

    def _publish_status(self) -> None:
        now = self.get_clock().now()
        status = RecorderStatus(recording=self._recording is not None)
        status.header.stamp = now.to_msg()
        status.episodes_recorded = self._recorded
        status.last_error = self._last_error
        if self._last is not None and self._contract is not None:
            fill_recorder_status(status, self._last, self._contract.rate_hz, now.nanoseconds)
        self._status.publish(status)

    def _report(self) -> Report:
        if self._last_error:
            return Report(ERROR, self._last_error, {})
        if self._recording is None:
            return Report(OK, "no episode is open", {"episodes": self._recorded})
        counts = self._recording.counts.values()
        silent = [count.topic for count in counts if not count.received]
        values = {count.topic: f"{count.received} received, {count.gaps} gaps" for count in counts}
        if silent:
            return Report(WARN, f"nothing arrives on {', '.join(silent)}", values)
        return Report(OK, f"recording {self._recording.episode_id}", values)


def main() -> int:
    """Run the node."""
    return run_node(PlayRecorder)


if __name__ == "__main__":
    raise SystemExit(main())
