# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: serves a checkpoint: observations in, chunks of actions out, on request by `RunSkill`."""

from __future__ import annotations

from functools import partial

import torch
from diwa_msgs.action import RunSkill
from diwa_msgs.msg import ActionChunk, PolicyStatus
from rclpy.action.server import ActionServer, CancelResponse, ServerGoalHandle
from rclpy.subscription import Subscription

from diwa.agent import Agent
from diwa.data.frames import ACTION
from diwa.errors import ConfigError
from diwa_ros import qos
from diwa_ros.conversions import message_type
from diwa_ros.diagnostics import Diagnostics
from diwa_ros.interlocks import Interlocks, Outcome
from diwa_ros.lifecycle import LifecycleNode
from diwa_ros.running import run_node
from diwa_ros.serving_report import fill_status, serving_report, skill_feedback
from diwa_ros.serving_settings import declare_settings
from diwa_ros.skill import warm_up
from diwa_ros.skill_engine import ActiveSkill, Result, SkillEngine
from diwa_ros.skill_recording import SkillRecording
from diwa_ros.waiting import Waiting

WATCH_PERIOD_S = 0.05
STATUS_PERIOD_S = 0.5


class PolicyServer(LifecycleNode):
    """Owns one agent; runs one skill at a time."""

    def __init__(self) -> None:
        super().__init__("policy_server")
        self._settings = declare_settings(self)
        self._engine: SkillEngine | None = None
        self._skill_name = self._source = ""
        self._inputs: list[Subscription] = []
        self._serving = False
        self._goal: ServerGoalHandle | None = None
        self._goals = 0  # accepted so far; the last one wins
        self._message = ""
        self._waiting = Waiting()
        self._recording = SkillRecording(self, self._settings.recorder, self._waiting)
        self._interlocks = Interlocks(
            self,
            require_enable=self._settings.require_enable,
            require_contract=self._settings.require_contract,
            robot_status=self._settings.robot_status,
            on_change=self._check_interlocks,
        )
        self._chunks = self.create_lifecycle_publisher(ActionChunk, "action_chunk", qos.COMMAND)
        self._status = self.create_publisher(PolicyStatus, "~/status", qos.STATUS)
        self._server = ActionServer(
            self, RunSkill, "~/run_skill", self._execute, cancel_callback=self._on_cancel
        )
        self._wake = self.create_guard_condition(lambda: None)
        self.create_timer(WATCH_PERIOD_S, self._on_watch)
        self.create_timer(STATUS_PERIOD_S, self._publish_status)
        self._diagnostics = Diagnostics(
            self, lambda: serving_report(self._engine, self._blocked(), self._message)
        )

    def load(self) -> None:
        """Load, check and warm up the agent; subscribe to what its contract names."""
        settings = self._settings
        if settings.checkpoint is None:
            raise ConfigError(
                "parameter checkpoint is empty", hint="give the folder of a trained checkpoint"
            )
        torch.set_num_threads(max(settings.threads - 1, 1))
        agent = Agent.load(
            settings.checkpoint,
            settings.device,
            settings.seed,
            settings.serve_steps,
            overlap=settings.threads > 1,
        )
        if settings.skill not in ("", agent.skill):
            raise ConfigError(
                f"{settings.checkpoint}: another skill", got=agent.skill, expected=settings.skill
            )
        difference = self._interlocks.contract_difference(agent.contract, agent.hash)
        if difference:
            raise ConfigError(difference)
        warm_up(agent)
        self._engine = SkillEngine(
            agent, agent.hash, settings, self._send, self._wake.trigger, self._log_error
        )
        self._skill_name, self._source = agent.skill, agent.hash
        self._subscribe(self._engine)
        self.get_logger().info(f"serving {agent.skill} from {settings.checkpoint} ({agent.hash})")

    def start(self) -> None:
        """Accept goals."""
        self._serving = True
        others = self.count_publishers("action_chunk") - 1
        if others > 0:
            self.get_logger().warning(f"{others} other node(s) can send action_chunk too")
        if self._settings.dry_run:
            self.get_logger().warning("dry run: no action is published")

    def stop(self) -> None:
        """End the running skill and make the arm hold."""
        self._serving = False
        if self._engine is not None:
            self._engine.end(Result.DEACTIVATED, "the policy server was deactivated")
            self._engine.finish()

    def release(self) -> None:
        """Let go of the models and the inputs."""
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _subscribe(self, engine: SkillEngine) -> None:
        contract = engine.contract
        topics = {
            key: (stream.type, stream.topic, qos.subscription_qos(stream))
            for key, stream in contract.observations.items()
        }
        topic = contract.require_action_topic("the policy server")
        topics[ACTION] = (contract.action.type, topic, qos.OBSERVATION)
        for key, (kind, topic, profile) in topics.items():
            callback = partial(engine.on_message, key)
            self._inputs.append(
                self.create_subscription(message_type(kind), topic, callback, profile)
            )

    def _send(self, chunk: ActionChunk) -> None:
        if self.context.ok() and not self._settings.dry_run:
            self._chunks.publish(chunk)

    def _log_error(self, text: str) -> None:
        self.get_logger().error(text)

    async def _execute(self, goal: ServerGoalHandle) -> RunSkill.Result:
        outcome = self._refusal(goal.request.skill) or await self._take_over(goal)
        skill: ActiveSkill | None = None
        if outcome is None:
            try:
                outcome, skill = await self._serve(goal)
            finally:
                self._goal = None
                self._waiting.check()
        self._message = outcome.message
        self.get_logger().info(f"{skill.run.frames if skill else 0} frames; {outcome.message}")
        finish = {Result.NONE: goal.succeed, Result.CANCELED: goal.canceled}
        finish.get(outcome.code, goal.abort)()
        success = outcome.code == Result.NONE
        return Result(
            success=success,
            error_code=outcome.code,
            error_msg="" if success else outcome.message,
            steps=skill.run.frames if skill else 0,
            success_probability=skill.run.probability if skill else 0.0,
        )

    async def _take_over(self, goal: ServerGoalHandle) -> Outcome | None:
        """Make this goal the running one, or say why not."""
        if self._goal is not None and not self._settings.preempt:
            return Outcome(Result.BUSY, "another skill is running")
        self._goals += 1
        mine = self._goals
        if self._goal is not None and self._engine is not None:
            self._engine.end(Result.PREEMPTED, "another goal took over")
        await self._waiting.until(lambda: self._goal is None)
        if mine != self._goals:
            return Outcome(Result.PREEMPTED, "another goal took over")
        self._goal = goal
        return None

    async def _serve(self, goal: ServerGoalHandle) -> tuple[Outcome, ActiveSkill | None]:
        """Run the skill of a goal to its end, and record it where that is asked for."""
        request, limits, engine = goal.request, self._settings.limits, self._engine
        records = self._settings.record and not self._settings.dry_run
        if engine is None:
            return Outcome(Result.DEACTIVATED, "the policy server was deactivated"), None
        if records:
            problem = await self._recording.start(
                self._skill_name, f"served by checkpoint {self._source}", engine.stamp_ns
            )
            if problem:
                return Outcome(Result.INTERNAL, f"cannot record: {problem}"), None
        late = self._refusal(request.skill)  # much may have happened while the recorder began
        if goal.is_cancel_requested:
            late = Outcome(Result.CANCELED, "canceled by the client")
        limits = limits._replace(
            time_s=request.time_limit or limits.time_s,
            threshold=request.success_threshold or limits.threshold,
        )
        skill = engine.begin(limits, request.seed if request.seed >= 0 else None)
        if late is not None:
            engine.end(*late)
        outcome = await skill.done
        assert outcome is not None, "a skill that is done has an outcome"
        engine.finish()
        if records:
            judged, run = limits.threshold <= 1.0, skill.run
            problem = await self._recording.end(outcome, judged, run.frames, run.last_ns)
            if problem:
                self.get_logger().error(f"the recording did not end: {problem}")
        return outcome, skill

    def _refusal(self, skill: str) -> Outcome | None:
        """Why a goal cannot be served now."""
        if not self._serving:
            return Outcome(Result.DEACTIVATED, "the policy server is not active")
        if skill not in ("", self._skill_name):
            return Outcome(Result.UNKNOWN_SKILL, f"the checkpoint is for {self._skill_name}")
        return self._blocked()

    def _blocked(self) -> Outcome | None:
        """What the interlocks say; a dry run needs none."""
        if self._engine is None or self._settings.dry_run:
            return None
        return self._interlocks.problem(self._engine.contract, f"checkpoint {self._source}")

    def _check_interlocks(self) -> None:
        if self._engine is None or self._engine.skill is None:
            return
        blocked = self._blocked()
        if blocked is not None:
            self._engine.end(*blocked)

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        if self._engine is not None and goal is self._goal:
            self._engine.end(Result.CANCELED, "canceled by the client")
        return CancelResponse.ACCEPT

    def _on_watch(self) -> None:
        self._waiting.check()
        self._check_interlocks()
        engine, goal = self._engine, self._goal
        if engine is None or goal is None or engine.skill is None:
            return
        engine.watch()
        if not engine.skill.done.done():
            goal.publish_feedback(skill_feedback(engine, engine.skill))

    def _publish_status(self) -> None:
        status = PolicyStatus(
            skill=self._skill_name,
            checkpoint=self._source,
            message=self._message,
            dry_run=self._settings.dry_run,
        )
        status.header.stamp = self.get_clock().now().to_msg()
        fill_status(status, self._engine, self._serving)
        blocked = self._blocked()
        if blocked is not None:
            status.message = blocked.message
        self._status.publish(status)


def main() -> int:
    """Run the node."""
    return run_node(PolicyServer)


if __name__ == "__main__":
    raise SystemExit(main())
