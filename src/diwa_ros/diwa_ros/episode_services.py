# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The recorder's services.

The answer to a service can be lost on its way: asked for the same thing again, these do nothing
and give the same answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from diwa_msgs.srv import (
    DiscardEpisode,
    EndEpisode,
    LabelEpisode,
    RestoreEpisode,
    StartEpisode,
)
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future

from diwa.data.episode import EpisodeRecord
from diwa.errors import ConfigError
from diwa_ros.conversions import time_ns
from diwa_ros.recorder_messages import outcome_name
from diwa_ros.recording import Recording
from diwa_ros.recording_session import RecordingSession
from diwa_ros.waiting import Waiting

WAIT_S = 2.0  # for messages that are still on their way when an episode starts or ends


class _Asked(NamedTuple):
    request: Any
    episode_id: str
    answer: Future[Any]


class EpisodeServices:
    """Start, end, discard, restore and label.

    Args:
        node: that offers them.
        session: of the configured recorder; None when it is not.
        begin: opens an episode with task, note and start stamp, or raises.
        silent: topics from which nothing comes.
        waiting: wakes what waits for messages.
    """

    def __init__(
        self,
        node: Node,
        session: Callable[[], RecordingSession | None],
        begin: Callable[[str, str, int], Recording],
        silent: Callable[[], list[str]],
        waiting: Waiting,
    ) -> None:
        self._node = node
        self._session = session
        self._begin = begin
        self._silent = silent
        self._waiting = waiting
        self._started: _Asked | None = None
        self._ended: _Asked | None = None
        # They wait for messages: in the default group they would keep those from arriving.
        group = ReentrantCallbackGroup()
        for kind, name, callback in (
            (StartEpisode, "start_episode", self._on_start),
            (EndEpisode, "end_episode", self._on_end),
            (DiscardEpisode, "discard_episode", self._on_discard),
            (RestoreEpisode, "restore_episode", self._on_restore),
            (LabelEpisode, "label_episode", self._on_label),
        ):
            node.create_service(kind, f"~/{name}", callback, callback_group=group)

    async def _on_start(
        self, request: StartEpisode.Request, response: StartEpisode.Response
    ) -> StartEpisode.Response:
        asked, session = self._started, self._session()
        if asked is not None and asked.request == request and time_ns(request.start):
            recording = session.recording if session is not None else None
            if recording is not None and recording.opening.id == asked.episode_id:
                return await asked.answer
        try:
            recording = self._begin(request.task, request.note, time_ns(request.start))
        except (OSError, ConfigError) as error:
            response.message = f"cannot start an episode: {error}"
            self._node.get_logger().error(response.message)
            return response
        response.episode_id = recording.opening.id
        self._started = _Asked(request, response.episode_id, Future())
        self._ended = None
        answer = self._started.answer
        await self._complete(request, response, recording)
        answer.set_result(response)
        return response

    async def _complete(
        self, request: StartEpisode.Request, response: StartEpisode.Response, recording: Recording
    ) -> None:
        """With a start stamp, wait for every topic's first message; drop the episode without."""
        session = self._session()
        assert session is not None, "an episode is open"
        if time_ns(request.start):
            await self._waiting.until(lambda: not recording.missing(), WAIT_S)
            if recording.missing() and session.recording is recording:
                session.drop(f"nothing arrives on {', '.join(recording.missing())}")
                self._node.get_logger().error(session.error)
            response.success = session.recording is recording
            response.message = "" if response.success else session.error
            return
        response.success = True
        silent = self._silent()
        if silent:
            response.message = f"recording, but nothing arrives on {', '.join(silent)}"
            self._node.get_logger().warning(response.message)

    async def _on_end(
        self, request: EndEpisode.Request, response: EndEpisode.Response
    ) -> EndEpisode.Response:
        asked, session = self._ended, self._session()
        latest = session.latest if session is not None else None
        latest_id = latest.opening.id if latest is not None else ""
        if asked is not None and asked.request == request and asked.episode_id == latest_id:
            return await asked.answer
        if session is None or session.recording is None:
            response.message = "no episode is open"
            if session is not None and latest is not None:
                response.message += f"; {latest_id} ended: {session.endings[latest_id].message}"
            return response
        recording = session.recording
        response.episode_id = recording.opening.id
        self._ended = _Asked(request, response.episode_id, Future())
        answer = self._ended.answer
        end_ns = time_ns(request.end)
        if end_ns and not await self._waiting.until(lambda: recording.reached(end_ns), WAIT_S):
            self._node.get_logger().warning("the last messages did not arrive: ended without")
        try:
            self._close(request, response, session, recording)
        except (OSError, ConfigError) as error:
            response.message = str(error)
        answer.set_result(response)
        return response

    def _close(
        self,
        request: EndEpisode.Request,
        response: EndEpisode.Response,
        session: RecordingSession,
        recording: Recording,
    ) -> None:
        record: EpisodeRecord | None = None
        if session.recording is not recording:  # the disk or a transition was quicker
            response.message = session.endings[recording.opening.id].message
        else:
            end = session.throw_away if request.discard else session.keep
            outcome = outcome_name(request.outcome)
            record = end(request.task, outcome, request.reason, request.note)
        if record is None:
            response.message = response.message or session.error
            return
        response.success = True
        response.problems = list(record.problems)
        if not request.discard:
            response.path = str(recording.path.absolute())

    def _on_discard(
        self, request: DiscardEpisode.Request, response: DiscardEpisode.Response
    ) -> DiscardEpisode.Response:
        self._change(
            response, lambda session: session.finished.discard(request.episode_id, request.reason)
        )
        return response

    def _on_restore(
        self, request: RestoreEpisode.Request, response: RestoreEpisode.Response
    ) -> RestoreEpisode.Response:
        session = self._change(
            response, lambda session: session.finished.restore(request.episode_id)
        )
        if session is not None:
            response.path = str((session.folder.path / response.episode_id).absolute())
        return response

    def _on_label(
        self, request: LabelEpisode.Request, response: LabelEpisode.Response
    ) -> LabelEpisode.Response:
        self._change(
            response,
            lambda session: session.finished.label(
                request.episode_id,
                request.task if request.set_task else None,
                outcome_name(request.outcome) if request.set_outcome else None,
                request.note if request.set_note else None,
            ),
        )
        return response

    def _change(
        self, response: Any, change: Callable[[RecordingSession], EpisodeRecord]
    ) -> RecordingSession | None:
        """Do something to a finished episode; returns the session if that worked."""
        session = self._session()
        try:
            if session is None:
                raise ConfigError("the recorder is not configured")
            response.episode_id = change(session).id
        except (OSError, ConfigError) as error:
            response.message = str(error)
            self._node.get_logger().error(response.message)
            return None
        response.success = True
        return session
