# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""From messages to chunks: what the policy server does while a skill runs.

Messages are decoded in the executor's thread and become jobs of one worker thread, in order. So the
executor never waits for the models, and no two threads use them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from diwa_msgs.action import RunSkill
from diwa_msgs.msg import ActionChunk
from rclpy.task import Future

from diwa.data.decode import stamp_ns
from diwa.data.frames import ACTION, Frame, FrameBuilder
from diwa.errors import ConfigError
from diwa_ros.conversions import make_chunk, make_hold
from diwa_ros.skill import Agent, Latencies, SkillRun
from diwa_ros.worker import Worker

Result = RunSkill.Result


class Outcome(NamedTuple):
    """How a skill ended: an error code of RunSkill, and the same in words."""

    code: int
    message: str


class Limits(NamedTuple):
    """When a skill ends by itself.

    Attributes:
        time_s: observation time.
        threshold: success probability.
        stale_s: silence of a topic.
        stuck_s: time without a new frame.
        resend_s: time without a new frame after which the last chunk is sent again.
    """

    time_s: float
    threshold: float
    stale_s: float
    stuck_s: float
    resend_s: float


class ActiveSkill:
    """A skill that is being served.

    Attributes:
        run: its state; used by the worker alone.
        builder: makes frames; used by the executor's thread alone.
        done: has an `Outcome` as its result when the skill has ended.
        newest_ns: stamp of the latest frame handed to the worker.
        frame_at: when that was, on the monotonic clock [s].
        chunk: the last one published.
        chunk_at: when it was published (again), on the monotonic clock [s].
    """

    def __init__(self, agent: Agent, seed: int | None, limits: Limits) -> None:
        self.run = SkillRun(agent, seed)
        self.limits = limits
        self.builder = FrameBuilder(agent.contract)
        self.done: Future[Outcome] = Future()
        self.newest_ns = 0
        self.frame_at = self.chunk_at = time.monotonic()
        self.chunk: ActionChunk | None = None


class SkillEngine:
    """Serves one skill at a time.

    Args:
        agent: the models.
        publish: sends a chunk; called in the worker's and in the executor's thread.
        wake: makes the executor look at `ActiveSkill.done`.
        log_error: for tracebacks.

    Attributes:
        skill: the one that runs.
        latencies: from the last message of a frame to the publication of its chunk.
        heard: when each key of the contract last arrived, on the monotonic clock [s].
        fault: the error of the models that ended the last skill; empty if there was none.
    """

    def __init__(
        self,
        agent: Agent,
        publish: Callable[[ActionChunk], None],
        wake: Callable[[], None],
        log_error: Callable[[str], None],
    ) -> None:
        self.skill: ActiveSkill | None = None
        self.latencies = Latencies()
        self.heard: dict[str, float] = {}
        self.fault = ""
        self._agent = agent
        self._publish = publish
        self._wake = wake
        self._log_error = log_error
        self._period_s = agent.contract.period_ns / 1e9
        self._sequence = 0
        self._ending = threading.Lock()
        self._worker = Worker(self._on_fault)

    def begin(self, limits: Limits, seed: int | None) -> ActiveSkill:
        """Start a skill with the next message that arrives."""
        self.fault = ""
        self.skill = ActiveSkill(self._agent, seed, limits)
        return self.skill

    def finish(self) -> None:
        """Forget the skill; the arm holds."""
        skill, self.skill = self.skill, None
        if skill is not None:
            self._publish(make_hold(skill.run.last_ns, skill.run.epoch, self._next_sequence()))

    def end(self, code: int, message: str) -> None:
        """End the running skill; the first reason counts. From any thread."""
        skill = self.skill
        with self._ending:
            if skill is None or skill.done.done():
                return
            skill.done.set_result(Outcome(code, message))
        self._wake()

    def close(self) -> None:
        """Stop the worker."""
        self._worker.stop()

    def on_message(self, key: str, message: Any) -> None:
        """Take a message of the contract's `key`, or an executed action."""
        now = self.heard[key] = time.monotonic()
        skill = self.skill
        if skill is None or skill.done.done():
            return
        if key == ACTION and not message.held:
            self._worker.submit(skill.run.executed, stamp_ns(message))
        try:
            skill.builder.push_message(key, message)
        except ConfigError as error:
            self.end(Result.INTERNAL, str(error))
            return
        for frame in skill.builder.pop():
            skill.newest_ns, skill.frame_at = frame.stamp_ns, now
            self._worker.submit(self._on_frame, skill, frame, now)

    def watch(self) -> None:
        """Look for what did not happen; called by a timer."""
        skill, now = self.skill, time.monotonic()
        if skill is None or skill.done.done():
            return
        limits, builder = skill.limits, skill.builder
        waited_s = now - skill.frame_at
        silent = [
            stream.topic
            for key, stream in builder.contract.observations.items()
            if now - max(self.heard.get(key, 0.0), skill.frame_at) > limits.stale_s
        ]
        first = not skill.newest_ns
        if silent and waited_s > limits.stale_s:
            code = Result.NO_OBSERVATION if first else Result.STALE_OBSERVATION
            self.end(code, f"nothing arrives on {', '.join(silent)}")
        elif waited_s > limits.stuck_s:
            code = Result.NO_OBSERVATION if first else Result.STALE_OBSERVATION
            self.end(code, f"no new frame for {limits.stuck_s:g} s")
        elif skill.chunk is not None and min(waited_s, now - skill.chunk_at) > limits.resend_s:
            skill.chunk_at = now
            self._publish(skill.chunk)

    def _on_frame(self, skill: ActiveSkill, frame: Frame, arrived_at: float) -> None:
        """In the worker: filter, judge, and plan when it is time to."""
        run = skill.run
        if skill.done.done():
            return
        if run.frames and (frame.epoch or 0) != run.epoch:
            if run.actions:
                self.end(Result.EPISODE_CHANGED, "the scene was reset while the skill ran")
                return
            run.restart()  # the reset came just before the goal, its frame just after
        run.observe(frame)
        if run.probability >= skill.limits.threshold:
            self.end(Result.NONE, f"done: success probability {run.probability:.2f}")
        elif run.elapsed_s + self._period_s / 2 >= skill.limits.time_s:
            self.end(Result.TIME_LIMIT, f"not done after {skill.limits.time_s:g} s")
        elif run.needs_plan and frame.stamp_ns == skill.newest_ns:
            chunk, sequence = run.plan(), self._next_sequence()
            skill.chunk = make_chunk(chunk, frame.stamp_ns, run.epoch, sequence, self._period_s)
            self._publish(skill.chunk)
            skill.chunk_at = time.monotonic()
            self.latencies.add(skill.chunk_at - arrived_at)

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _on_fault(self, text: str) -> None:
        """In the worker: a job failed."""
        self.fault = text.strip().splitlines()[-1]
        self._log_error(text)
        self.end(Result.INTERNAL, self.fault)
