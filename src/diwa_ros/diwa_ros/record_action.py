# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder's action: one goal is one episode."""

from __future__ import annotations

from collections.abc import Callable

from diwa_msgs.action import RecordEpisode
from rclpy.action.server import ActionServer, CancelResponse, ServerGoalHandle
from rclpy.node import Node

from diwa.errors import ConfigError
from diwa_ros.episode_services import WAIT_S
from diwa_ros.receive_clock import ReceiveClock
from diwa_ros.recording import Recording
from diwa_ros.recording_session import Ending, RecordingSession
from diwa_ros.waiting import Waiting

Result = RecordEpisode.Result
CODES = {"asked": Result.NONE, "silent": Result.NO_DATA, "stopped": Result.STOPPED}


class RecordAction:
    """Records an episode per goal, until its time is up, it is cancelled or somebody ends it.

    Args:
        node: that offers it.
        session: of the configured recorder; None when it is not.
        begin: opens an episode with task, note and start stamp, or raises.
        clock: of arrivals.
        waiting: wakes what waits.
    """

    def __init__(
        self,
        node: Node,
        session: Callable[[], RecordingSession | None],
        begin: Callable[[str, str, int], Recording],
        clock: ReceiveClock,
        waiting: Waiting,
    ) -> None:
        self._node = node
        self._session = session
        self._begin = begin
        self._clock = clock
        self._waiting = waiting
        self._goal: ServerGoalHandle | None = None
        self._recording: Recording | None = None
        self._server = ActionServer(
            node,
            RecordEpisode,
            "~/record_episode",
            self._execute,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
        )

    def close(self) -> None:
        """Destroy the server; it must not outlive its node."""
        self._server.destroy()

    def publish_feedback(self) -> None:
        """Tell the client how far the episode is."""
        recording, goal = self._recording, self._goal
        if recording is None or goal is None or not goal.is_active:
            return
        goal.publish_feedback(
            RecordEpisode.Feedback(
                episode_id=recording.opening.id,
                duration=recording.duration_s(self._clock.now_ns()),
                messages=recording.cadence.messages,
                problems=list(recording.problems()),
            )
        )

    async def _execute(self, goal: ServerGoalHandle) -> RecordEpisode.Result:
        request, session = goal.request, self._session()
        try:
            recording = self._begin(request.task, request.note, 0)
        except (OSError, ConfigError) as error:
            self._node.get_logger().error(f"goal refused: {error}")
            goal.abort()
            return Result(error_code=Result.REFUSED, error_msg=str(error))
        assert session is not None, "an episode is open"
        self._recording, self._goal = recording, goal
        name = recording.opening.id
        await self._waiting.until(
            lambda: not recording.missing() or name in session.endings, WAIT_S
        )
        if recording.missing() and name not in session.endings:
            session.drop(f"nothing arrives on {', '.join(recording.missing())}")
        await self._waiting.until(
            lambda: (
                name in session.endings
                or goal.is_cancel_requested
                or self._time_is_up(recording, request.time_limit)
            )
        )
        if name not in session.endings:
            reason = "cancelled" if goal.is_cancel_requested else "the time is up"
            session.keep("", "unknown", reason)
        self._recording = self._goal = None
        return self._conclude(goal, recording, session.endings[name])

    def _time_is_up(self, recording: Recording, limit_s: float) -> bool:
        return 0 < limit_s <= recording.duration_s(self._clock.now_ns())

    def _conclude(
        self, goal: ServerGoalHandle, recording: Recording, ending: Ending
    ) -> RecordEpisode.Result:
        """Bring the goal to its final state."""
        record = ending.record
        if ending.cause == "disk":
            code = Result.DISK_FULL if record is not None else Result.INTERNAL
        else:
            code = CODES[ending.cause]
        if code == Result.NONE and ending.discarded:
            code = Result.DISCARDED
        result = Result(
            success=record is not None and not ending.discarded,
            error_code=code,
            error_msg="" if code == Result.NONE else ending.message,
            episode_id=recording.opening.id,
            problems=list(record.problems) if record is not None else [],
        )
        if result.success:
            result.path = str(recording.path.absolute())
        if goal.is_cancel_requested:
            goal.canceled()
        elif result.success:
            goal.succeed()
        else:
            goal.abort()
        return result
