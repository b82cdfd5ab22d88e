# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""From messages to chunks: what the policy server does while a skill runs.

Messages are decoded in the executor's thread and become jobs of one worker thread, in order. So the
executor never waits for the models, and no two threads use them.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

from diwa_msgs.action import RunSkill
from diwa_msgs.msg import ActionChunk
from rclpy.task import Future

from diwa.data.decode import stamp_ns
from diwa.data.frames import ACTION, Frame, FrameBuilder
from diwa.errors import ConfigError
from diwa_ros.conversions import make_chunk, make_hold
from diwa_ros.input_watch import InputWatch
from diwa_ros.interlocks import Outcome
from diwa_ros.serving_settings import Limits, ServingSettings
from diwa_ros.skill import Agent, Latencies, SkillRun
from diwa_ros.worker import Worker

Result = RunSkill.Result
REMEMBERED = 64  # executed actions; more than a chunk has


class ActiveSkill:
    """A skill that is being served.

    Attributes:
        run: its state; used by the worker alone.
        builder: makes frames; used by the executor's thread alone.
        watch: of the inputs as they arrive; used by the executor's thread alone.
        frames: watch of the frames; used by the worker alone.
        executed: stamps of the latest actions, written by the executor's thread.
        done: has an `Outcome` as its result when the skill has ended.
        newest_ns: stamp of the latest frame handed to the worker.
        frame_at: when that was, on the monotonic clock [s].
        chunk: the last one published.
        chunk_at: when it was published (again), on the monotonic clock [s].
        budget_misses: chunks that took too long.
        late_steps: steps of chunks for which others had been executed when they were published.
    """

    def __init__(
        self, agent: Agent, seed: int | None, limits: Limits, settings: ServingSettings
    ) -> None:
        now_s = time.monotonic()
        self.run = SkillRun(agent, seed, settings.plan_ahead, dry=settings.dry_run)
        self.limits = limits
        self.builder = FrameBuilder(agent.contract)
        self.watch = InputWatch(agent.contract, limits.stale_s, now_s)
        self.frames = InputWatch(agent.contract, limits.stale_s, now_s)
        self.executed: deque[int] = deque(maxlen=REMEMBERED)
        self.done: Future[Outcome] = Future()
        self.newest_ns = 0
        self.frame_at = self.chunk_at = now_s
        self.chunk: ActionChunk | None = None
        self.budget_misses = 0
        self.late_steps = 0


class SkillEngine:
    """Serves one skill at a time.

    Args:
        agent: the models.
        source: hash of their checkpoint, which goes into every chunk.
        settings: of the server.
        publish: sends a chunk; called in the worker's and in the executor's thread.
        wake: makes the executor look at `ActiveSkill.done`.
        log_error: for tracebacks.

    Attributes:
        skill: the one that runs.
        latest: that, or the last one that ran.
        latencies: from the last message of a frame to the publication of its chunk.
        stamp_ns: the newest stamp of an observation, whether a skill runs or not; 0: none yet.
        fault: the error of the models that ended the last skill; empty if there was none.
    """

    def __init__(
        self,
        agent: Agent,
        source: str,
        settings: ServingSettings,
        publish: Callable[[ActionChunk], None],
        wake: Callable[[], None],
        log_error: Callable[[str], None],
    ) -> None:
        self.skill: ActiveSkill | None = None
        self.latest: ActiveSkill | None = None
        self.latencies = Latencies()
        self.stamp_ns = 0
        self.fault = ""
        self.contract = agent.contract
        self._agent = agent
        self._source = source
        self._settings = settings
        self._publish = publish
        self._wake = wake
        self._log_error = log_error
        self._period_s = agent.contract.period_ns / 1e9
        self._sequence = 0
        self._ending = threading.Lock()  # nothing is published for a skill that has ended
        self._worker = Worker(self._on_fault)

    def begin(self, limits: Limits, seed: int | None) -> ActiveSkill:
        """Start a skill with the next message that arrives."""
        self.fault = ""
        self.skill = self.latest = ActiveSkill(self._agent, seed, limits, self._settings)
        return self.skill

    def finish(self) -> None:
        """Forget the skill; the arm holds."""
        skill, self.skill = self.skill, None
        if skill is not None:
            self._hold(skill)

    def end(self, code: int, message: str) -> None:
        """End the running skill and make the arm hold; the first reason counts. Any thread."""
        skill = self.skill
        with self._ending:
            if skill is None or skill.done.done():
                return
            skill.done.set_result(Outcome(code, message))
        self._hold(skill)
        self._wake()

    def close(self) -> None:
        """Stop the worker."""
        self._worker.stop()

    def on_message(self, key: str, message: Any) -> None:
        """Take a message of the contract's `key`, or an executed action."""
        try:
            self._take(key, message)
        except ConfigError as error:
            self.end(Result.INTERNAL, str(error))
        except Exception:  # whatever a message does must end the skill, not the node
            self._on_fault(traceback.format_exc())

    def watch(self) -> None:
        """Look for what did not happen; called by a timer."""
        skill, now = self.skill, time.monotonic()
        if skill is None or skill.done.done():
            return
        limits = skill.limits
        waited_s = now - skill.frame_at
        missing = Result.STALE_OBSERVATION if skill.newest_ns else Result.NO_OBSERVATION
        problem = skill.watch.silent(now) or skill.watch.apart()
        if problem:
            self.end(missing, problem)
        elif waited_s > limits.stuck_s:
            self.end(missing, f"no new frame for {limits.stuck_s:g} s")
        elif skill.chunk is not None and min(waited_s, now - skill.chunk_at) > limits.resend_s:
            self._send(skill, skill.chunk)

    def _take(self, key: str, message: Any) -> None:
        now, stamp = time.monotonic(), stamp_ns(message)
        if key != ACTION:
            self.stamp_ns = stamp
        skill = self.skill
        if skill is None or skill.done.done():
            return
        skill.watch.heard(key, stamp, now)
        if key == ACTION and not message.held:
            skill.executed.append(stamp)
            self._worker.submit(skill.run.executed, stamp)
        skill.builder.push_message(key, message)
        for frame in skill.builder.pop():
            skill.newest_ns, skill.frame_at = frame.stamp_ns, now
            self._worker.submit(self._on_frame, skill, frame, now)

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
            skill.frames.restart()
        problem = skill.frames.frame_problem(frame)
        if problem:
            self.end(Result.STALE_OBSERVATION, problem)
            return
        run.observe(frame)
        if run.probability >= skill.limits.threshold:
            self.end(Result.NONE, f"done: success probability {run.probability:.2f}")
        elif run.elapsed_s + self._period_s / 2 >= skill.limits.time_s:
            self.end(Result.TIME_LIMIT, f"not done after {skill.limits.time_s:g} s")
        elif run.needs_plan and frame.stamp_ns == skill.newest_ns:
            self._plan(skill, frame, arrived_at)

    def _plan(self, skill: ActiveSkill, frame: Frame, arrived_at: float) -> None:
        chunk = skill.run.plan()
        message = make_chunk(chunk, frame.stamp_ns, skill.run.epoch, 0, self._period_s)
        message.source = self._source
        if not self._send(skill, message):
            return
        latency_s = skill.chunk_at - arrived_at
        self.latencies.add(latency_s)
        skill.budget_misses += latency_s > self._settings.budget_s
        since = frame.stamp_ns - self.contract.period_ns // 2
        skill.late_steps += min(sum(at >= since for at in list(skill.executed)), len(chunk))

    def _send(self, skill: ActiveSkill, chunk: ActionChunk) -> bool:
        """Publish a chunk of the skill's, unless it has ended; a new one gets its number here."""
        with self._ending:
            if skill.done.done():
                return False
            if chunk is not skill.chunk:
                chunk.sequence = self._next_sequence()
            self._publish(chunk)
            skill.chunk, skill.chunk_at = chunk, time.monotonic()
        return True

    def _hold(self, skill: ActiveSkill) -> None:
        with self._ending:
            hold = make_hold(skill.run.last_ns, skill.run.epoch, self._next_sequence())
            hold.source = self._source
            self._publish(hold)

    def _next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def _on_fault(self, text: str) -> None:
        """A job of the worker's failed, or a message could not be taken."""
        self.fault = text.strip().splitlines()[-1]
        self._log_error(text)
        self.end(Result.INTERNAL, self.fault)
