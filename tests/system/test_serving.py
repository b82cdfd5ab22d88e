# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Policy server and bridge in processes of their own."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from diwa_msgs.action import RunSkill
from diwa_msgs.msg import ExecutedAction, PolicyStatus
from diwa_msgs.srv import ResetScene
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient

from diwa.agent import Agent
from diwa.sim.evaluate import run_episode
from diwa.sim.play_table import PlayTableEnv
from diwa_ros import qos

CONTRACT = "panda_calvin_lowdim"
TASK = "open_drawer"
NEVER = 2.0
Result = RunSkill.Result


class Skill:
    """A goal and what comes back."""

    def __init__(self, graph, **goal):
        self.feedback = []
        client = ActionClient(graph.node, RunSkill, "policy_server/run_skill")
        graph.wait_until(client.server_is_ready, "policy server")
        graph.settle()
        future = client.send_goal_async(
            RunSkill.Goal(**{"seed": -1, "success_threshold": NEVER, **goal}),
            feedback_callback=lambda message: self.feedback.append(message.feedback),
        )
        self.handle = graph.result_of(future, "goal response")
        assert self.handle.accepted
        self._graph = graph
        self._future = self.handle.get_result_async()

    def result(self):
        return self._graph.result_of(self._future, "result").result

    def cancel(self):
        self._graph.result_of(self.handle.cancel_goal_async(), "cancel response")


@pytest.fixture
def serve(graph, checkpoint):
    def start(real_time_factor=0.0, **parameters):
        graph.start("calvin_bridge", contract=CONTRACT, real_time_factor=real_time_factor)
        return graph.start(
            "policy_server", **{"checkpoint": str(checkpoint), "stale_after_s": 5.0, **parameters}
        )

    return start


def test_served_skill_does_what_the_evaluation_does(graph, serve, checkpoint, lowdim_contract):
    steps, seed = 30, 7
    serve()
    executed = graph.collect(ExecutedAction, "executed_action")
    client = ActionClient(graph.node, RunSkill, "policy_server/run_skill")
    graph.wait_until(client.server_is_ready, "policy server")
    reset = graph.call(ResetScene, "calvin_bridge/reset", ResetScene.Request(seed=seed, task=TASK))
    assert reset.success
    skill = Skill(graph, skill=TASK, time_limit=steps / 30, seed=seed)
    result = skill.result()
    assert (result.success, result.error_code) == (False, Result.TIME_LIMIT)
    assert result.steps == steps + 1
    graph.wait_until(lambda: len(executed) >= steps, "executed actions")

    expected = []

    class Recording:
        def __init__(self):
            self.agent = Agent.load(checkpoint)

        def reset(self, seed=None):
            self.agent.reset(seed)

        def act(self, observation, previous_action):
            expected.append(previous_action)
            return self.agent.act(observation, previous_action)

    env = PlayTableEnv()
    run_episode(env, Recording(), TASK, seed, lowdim_contract, steps)
    env.close()
    served = [message.action for message in executed]
    # What was executed before a frame is its previous action; the first frame's is neutral.
    assert np.array_equal(served[: steps - 1], expected[1:])


def test_skill_ends_by_itself_when_the_classifier_is_sure(graph, serve):
    serve()
    result = Skill(graph, success_threshold=1e-9).result()
    assert (result.success, result.error_code, result.error_msg) == (True, Result.NONE, "")
    assert result.steps == 1
    assert 0 < result.success_probability <= 1


def test_canceled_skill_stops_the_arm(graph, serve):
    serve()
    executed = graph.collect(ExecutedAction, "executed_action")
    status = graph.collect(PolicyStatus, "policy_server/status", qos.STATUS)
    skill = Skill(graph, time_limit=3000.0)
    graph.wait_until(lambda: skill.feedback and skill.feedback[-1].steps > 20, "feedback")
    assert skill.feedback[-1].latency > 0
    skill.cancel()
    assert skill.result().error_code == Result.CANCELED
    graph.wait_until(lambda: status and status[-1].state == PolicyStatus.IDLE, "idle status")
    count = len(executed)
    seen = len(status)
    graph.wait_until(lambda: len(status) > seen + 1, "more reports")
    assert len(executed) <= count + 4  # not more than the chunk that was under way
    assert status[-1].latency_p50 > 0
    assert status[-1].latency_p50 <= status[-1].latency_p99


def test_server_refuses_what_it_cannot_do(graph, serve):
    serve(preempt=False)
    other = Skill(graph, skill="close_drawer").result()
    assert other.error_code == Result.UNKNOWN_SKILL and TASK in other.error_msg
    first = Skill(graph, time_limit=3000.0)
    graph.wait_until(lambda: first.feedback, "feedback")
    assert Skill(graph).result().error_code == Result.BUSY
    first.cancel()
    assert first.result().error_code == Result.CANCELED


def test_new_goal_takes_over(graph, serve):
    serve()
    first = Skill(graph, time_limit=3000.0)
    graph.wait_until(lambda: first.feedback and first.feedback[-1].steps > 8, "feedback")
    second = Skill(graph, time_limit=0.2)
    assert first.result().error_code == Result.PREEMPTED
    assert second.result().error_code == Result.TIME_LIMIT


def test_reset_ends_a_running_skill(graph, serve):
    serve()
    skill = Skill(graph, time_limit=3000.0)
    graph.wait_until(lambda: skill.feedback and skill.feedback[-1].steps > 8, "feedback")
    graph.call(ResetScene, "calvin_bridge/reset", ResetScene.Request(seed=1))
    assert skill.result().error_code == Result.EPISODE_CHANGED


def test_skill_ends_when_observations_stop(graph, serve):
    serve(stale_after_s=6.0)  # silence that no busy machine brings about
    skill = Skill(graph, time_limit=3000.0)
    graph.wait_until(lambda: skill.feedback and skill.feedback[-1].steps > 8, "feedback")
    graph.processes["calvin_bridge"].send(signal.SIGKILL)
    result = skill.result()
    assert result.error_code == Result.STALE_OBSERVATION
    assert "nothing arrives on" in result.error_msg


def test_skill_without_a_robot_says_so(graph, checkpoint):
    graph.start("policy_server", checkpoint=str(checkpoint), stale_after_s=0.5)
    result = Skill(graph).result()
    assert result.error_code == Result.NO_OBSERVATION


def test_deactivation_ends_a_running_skill_and_activation_serves_again(graph, serve):
    serve()
    skill = Skill(graph, time_limit=3000.0)
    graph.wait_until(lambda: skill.feedback, "feedback")

    def change(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return graph.call(ChangeState, "policy_server/change_state", request).success

    assert change(Transition.TRANSITION_DEACTIVATE)
    assert skill.result().error_code == Result.DEACTIVATED
    assert Skill(graph).result().error_code == Result.DEACTIVATED
    assert change(Transition.TRANSITION_CLEANUP)
    assert change(Transition.TRANSITION_CONFIGURE)
    assert change(Transition.TRANSITION_ACTIVATE)
    assert Skill(graph, time_limit=0.2).result().error_code == Result.TIME_LIMIT


def test_bridge_holds_when_the_policy_server_is_killed(graph, serve):
    serve(real_time_factor=1.0)
    executed = graph.collect(ExecutedAction, "executed_action")
    poses = graph.collect(PoseStamped, "ee_pose")
    reports = graph.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    _skill = Skill(graph, time_limit=3000.0)
    graph.wait_until(lambda: sum(not message.held for message in executed) > 8, "motion")
    graph.processes["policy_server"].send(signal.SIGKILL)
    graph.wait_until(lambda: all(m.held for m in executed[-45:]), "a hold of 1.5 s")
    last = executed[-1]
    assert np.array_equal(last.action[:6], np.zeros(6)), "holding is no motion"
    assert last.action[6] == next(m for m in reversed(executed) if not m.held).action[6]
    y = [pose.pose.position.y for pose in poses[-10:]]
    assert np.ptp(y) < 1e-3

    def warns():
        return any(
            status.level == DiagnosticStatus.WARN and "holding" in status.message
            for report in reports
            for status in report.status
            if status.name == "calvin_bridge"
        )

    graph.wait_until(warns, "warning on /diagnostics")


def test_evaluation_over_ros_counts_successes(graph, serve):
    serve()
    output = graph.folder / "evaluation.json"
    client = graph.start(
        "evaluation_client", contract=CONTRACT, episodes=2, time_limit_s=1.0, output=str(output)
    )
    assert client.wait(60) == 0, graph.logs()
    summary = json.loads(output.read_text())
    assert summary["task"] == TASK
    assert [episode["seed"] for episode in summary["episodes"]] == [0, 1]
    assert summary["successes"] == sum(episode["success"] for episode in summary["episodes"])
    low, high = summary["interval"]
    assert 0 <= low <= summary["rate"] <= high <= 1
