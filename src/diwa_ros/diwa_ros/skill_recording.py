# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Skills as recorded episodes: what is deployed today is learned from tomorrow."""

from __future__ import annotations

import time
from typing import Any

from diwa_msgs.action import RunSkill
from diwa_msgs.srv import EndEpisode, StartEpisode
from rclpy.client import Client
from rclpy.node import Node
from rclpy.task import Future

from diwa_ros.conversions import time_message
from diwa_ros.interlocks import Outcome
from diwa_ros.waiting import Waiting

Result = RunSkill.Result
ASK_AGAIN_S = 5.0  # an answer is lost if the recorder does not know us yet
GIVE_UP_S = 20.0
OUTCOMES = {
    Result.NONE: EndEpisode.Request.SUCCESS,
    Result.TIME_LIMIT: EndEpisode.Request.FAILURE,
}  # of all others nothing is known, nor without a threshold that the classifier could pass


class SkillRecording:
    """Asks the recorder to begin and to end episodes.

    Args:
        node: to ask with.
        recorder: name of the recorder's node.
        waiting: wakes what waits for answers.
    """

    def __init__(self, node: Node, recorder: str, waiting: Waiting) -> None:
        self._waiting = waiting
        self._start: Client = node.create_client(StartEpisode, f"{recorder}/start_episode")
        self._end: Client = node.create_client(EndEpisode, f"{recorder}/end_episode")

    async def start(self, task: str, note: str, stamp_ns: int) -> str:
        """Begin an episode with what has `stamp_ns` or comes later; returns what went wrong."""
        request = StartEpisode.Request(task=task, note=note, start=time_message(stamp_ns))
        return await self._ask(self._start, request)

    async def end(self, outcome: Outcome, judged: bool, frames: int, last_ns: int) -> str:
        """End it with the frame at `last_ns`; an episode without frames is thrown away.

        Args:
            outcome: of the skill.
            judged: whether the classifier could have ended it.
            frames: that were observed.
            last_ns: stamp of the last one.
        """
        known = OUTCOMES if judged else {}
        request = EndEpisode.Request(
            outcome=known.get(outcome.code, EndEpisode.Request.UNKNOWN),
            reason=outcome.message,
            discard=frames == 0,
            end=time_message(last_ns),
        )
        return await self._ask(self._end, request)

    async def _ask(self, client: Client, request: Any) -> str:
        until = time.monotonic() + GIVE_UP_S
        if not await self._waiting.until(client.service_is_ready, GIVE_UP_S):
            return f"nobody offers {client.srv_name}"
        answers: list[Future[Any]] = []
        while time.monotonic() < until:
            answers.append(client.call_async(request))
            answered = await self._waiting.until(
                lambda: any(answer.done() for answer in answers), ASK_AGAIN_S
            )
            if answered:
                response = next(answer for answer in answers if answer.done()).result()
                assert response is not None, "a future that is done has a result"
                return "" if response.success else str(response.message)
        return f"no answer of {client.srv_name}"
