# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Node: serves a checkpoint: observations in, chunks of actions out, on request by `RunSkill`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from diwa_msgs.action import RunSkill
from diwa_msgs.msg import ActionChunk, PolicyStatus
from rclpy.action.server import ActionServer, CancelResponse, ServerGoalHandle
from rclpy.subscription import Subscription

from diwa.agent import Agent
from diwa.data.contract import Contract
from diwa.data.frames import ACTION
from diwa.errors import ConfigError
from diwa_ros import qos
from diwa_ros.conversions import message_type
from diwa_ros.diagnostics import ERROR, OK, WARN, Diagnostics, Report
from diwa_ros.lifecycle import LifecycleNode
from diwa_ros.parameters import declare
from diwa_ros.running import run_node
from diwa_ros.skill import warm_up
from diwa_ros.skill_engine import Limits, Outcome, Result, SkillEngine

WATCH_PERIOD_S = 0.1
STATUS_PERIOD_S = 0.5


class PolicyServer(LifecycleNode):
    """Owns one agent; runs one skill at a time."""

    def __init__(self) -> None:
        super().__init__("policy_server")
        self._checkpoint = declare(self, "checkpoint", "", "folder of the checkpoint to serve")
        self._device = declare(self, "device", "cpu", "where the models run: cpu, cuda or cuda:N")
        self._threads = declare(
            self, "threads", 1, "CPU threads for the models", minimum=1, maximum=256
        )
        self._seed = declare(
            self, "seed", 0, "of the policy's noise, in every skill", minimum=0, maximum=2**31 - 1
        )
        self._limits = self._declare_limits()
        self._engine: SkillEngine | None = None
        self._skill_name = ""
        self._inputs: list[Subscription] = []
        self._serving = False
        self._goal: ServerGoalHandle | None = None
        self._message = ""
        self._chunks = self.create_lifecycle_publisher(ActionChunk, "action_chunk", qos.COMMAND)
        self._status = self.create_publisher(PolicyStatus, "~/status", qos.STATUS)
        self._server = ActionServer(
            self, RunSkill, "~/run_skill", self._execute, cancel_callback=self._on_cancel
        )
        self._wake = self.create_guard_condition(lambda: None)
        self.create_timer(WATCH_PERIOD_S, self._on_watch)
        self.create_timer(STATUS_PERIOD_S, self._publish_status)
        self._diagnostics = Diagnostics(self, self._report)

    def _declare_limits(self) -> Limits:
        def seconds(name: str, default: float, text: str) -> float:
            return declare(self, name, default, text, minimum=0.0, maximum=3600.0)

        return Limits(
            time_s=seconds(
                "time_limit_s", 12.0, "observation time for a skill, unless the goal says"
            ),
            threshold=declare(
                self,
                "success_threshold",
                0.9,
                "success probability that ends a skill, unless the goal says; above 1: none does",
                minimum=0.0,
                maximum=2.0,
            ),
            stale_s=seconds(
                "stale_after_s", 1.0, "a skill ends when a topic is silent for this long"
            ),
            stuck_s=seconds(
                "stuck_after_s", 10.0, "a skill ends when no new frame comes for this long"
            ),
            resend_s=seconds(
                "resend_after_s", 0.5, "without a new frame the last chunk is sent again after this"
            ),
        )

    def load(self) -> None:
        """Load and warm up the agent; subscribe to what its contract names."""
        if not self._checkpoint:
            raise ConfigError(
                "parameter checkpoint is empty", hint="give the folder of a trained checkpoint"
            )
        torch.set_num_threads(self._threads)
        agent = Agent.load(Path(self._checkpoint).expanduser(), self._device, self._seed)
        warm_up(agent)
        self._engine = SkillEngine(agent, self._send, self._wake.trigger, self._log_error)
        self._skill_name = agent.skill
        self._subscribe(agent.contract, self._engine)
        self.get_logger().info(f"serving {agent.skill} from {self._checkpoint}")

    def start(self) -> None:
        """Accept goals."""
        self._serving = True
        others = self.count_publishers("action_chunk") - 1
        if others > 0:
            self.get_logger().warning(f"{others} other node(s) can send action_chunk too")

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

    def _subscribe(self, contract: Contract, engine: SkillEngine) -> None:
        action = contract.action
        topics = {
            key: (stream.type, stream.topic, qos.subscription_qos(stream))
            for key, stream in contract.observations.items()
        }
        topic = contract.require_action_topic("the policy server")
        topics[ACTION] = (action.type, topic, qos.OBSERVATION)
        for key, (kind, topic, profile) in topics.items():
            callback = partial(engine.on_message, key)
            self._inputs.append(
                self.create_subscription(message_type(kind), topic, callback, profile)
            )

    def _send(self, chunk: ActionChunk) -> None:
        if self.context.ok():
            self._chunks.publish(chunk)

    def _log_error(self, text: str) -> None:
        self.get_logger().error(text)

    async def _execute(self, goal: ServerGoalHandle) -> RunSkill.Result:
        request = goal.request
        refusal = self._refusal(request.skill)
        engine = self._engine
        if refusal is not None or engine is None:
            refusal = refusal or Outcome(Result.DEACTIVATED, "the policy server is not configured")
            self.get_logger().error(f"goal refused: {refusal.message}")
            goal.abort()
            return Result(error_code=refusal.code, error_msg=refusal.message)
        limits = self._limits._replace(
            time_s=request.time_limit or self._limits.time_s,
            threshold=request.success_threshold or self._limits.threshold,
        )
        self._goal = goal
        skill = engine.begin(limits, request.seed if request.seed >= 0 else None)
        outcome = await skill.done
        assert outcome is not None, "a skill that is done has an outcome"
        engine.finish()
        self._goal = None
        self._message = outcome.message
        self.get_logger().info(f"{skill.run.frames} frames; {outcome.message}")
        finish = {Result.NONE: goal.succeed, Result.CANCELED: goal.canceled}
        finish.get(outcome.code, goal.abort)()
        success = outcome.code == Result.NONE
        return Result(
            success=success,
            error_code=outcome.code,
            error_msg="" if success else outcome.message,
            steps=skill.run.frames,
            success_probability=skill.run.probability,
        )

    def _refusal(self, skill: str) -> Outcome | None:
        if not self._serving:
            return Outcome(Result.DEACTIVATED, "the policy server is not active")
        if self._goal is not None:
            return Outcome(Result.BUSY, "another skill is running")
        if skill not in ("", self._skill_name):
            return Outcome(Result.UNKNOWN_SKILL, f"the checkpoint is for {self._skill_name}")
        return None

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        if self._engine is not None and goal is self._goal:
            self._engine.end(Result.CANCELED, "canceled by the client")
        return CancelResponse.ACCEPT

    def _on_watch(self) -> None:
        engine, goal = self._engine, self._goal
        if engine is None or goal is None or engine.skill is None:
            return
        engine.watch()
        if engine.skill.done.done():
            return
        run, limits = engine.skill.run, engine.skill.limits
        goal.publish_feedback(
            RunSkill.Feedback(
                progress=min(run.elapsed_s / limits.time_s, 1.0) if limits.time_s else 1.0,
                success_probability=run.probability,
                latency=engine.latencies.last,
                steps=run.frames,
            )
        )

    def _publish_status(self) -> None:
        engine = self._engine
        status = PolicyStatus(state=self._state(), skill=self._skill_name, message=self._message)
        status.header.stamp = self.get_clock().now().to_msg()
        if engine is not None:
            p50, p95, p99 = engine.latencies.percentiles()
            status.latency_p50, status.latency_p95, status.latency_p99 = p50, p95, p99
            if engine.skill is not None:
                run = engine.skill.run
                status.epoch, status.frames, status.chunks = run.epoch, run.frames, run.chunks
                status.success_probability = run.probability
        self._status.publish(status)

    def _state(self) -> int:
        engine = self._engine
        if engine is None:
            return PolicyStatus.UNCONFIGURED
        if not self._serving:
            return PolicyStatus.INACTIVE
        if engine.skill is not None:
            return PolicyStatus.RUNNING if engine.skill.newest_ns else PolicyStatus.WAITING
        return PolicyStatus.FAULT if engine.fault else PolicyStatus.IDLE

    def _report(self) -> Report:
        engine = self._engine
        if engine is None:
            return Report(WARN, "no checkpoint is loaded", {})
        p50, p95, p99 = (1000 * value for value in engine.latencies.percentiles())
        values = {
            "skill": self._skill_name,
            "latency p50 [ms]": p50,
            "latency p95 [ms]": p95,
            "latency p99 [ms]": p99,
        }
        if engine.fault:
            return Report(ERROR, engine.fault, values)
        return Report(OK, self._message or "ready", values)


def main() -> int:
    """Run the node."""
    return run_node(PolicyServer)


if __name__ == "__main__":
    raise SystemExit(main())
