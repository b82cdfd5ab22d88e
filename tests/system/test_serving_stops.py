# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What others may say to a policy server, and what it leaves behind."""

from __future__ import annotations

import json

import pytest
from diwa_msgs.msg import ActionChunk, ExecutedAction, PolicyStatus, RecorderStatus
from std_msgs.msg import Bool

from diwa_ros import qos
from system.test_serving import CONTRACT, TASK, Result, Skill


@pytest.fixture
def serve(graph, checkpoint):
    def start(contract=CONTRACT, **parameters):
        graph.start("calvin_bridge", contract=contract, cameras=False, real_time_factor=0.0)
        values = {"checkpoint": str(checkpoint), "stale_after_s": 6.0, **parameters}
        return graph.start("policy_server", **values)

    return start


def test_emergency_stop_ends_a_skill_and_refuses_others_until_it_is_released(graph, serve):
    serve()
    estop = graph.node.create_publisher(Bool, "estop", qos.LATCHED)
    executed = graph.collect(ExecutedAction, "executed_action")
    skill = Skill(graph, time_limit=3000.0)
    graph.wait_until(lambda: skill.feedback and skill.feedback[-1].steps > 8, "feedback")
    estop.publish(Bool(data=True))
    assert skill.result().error_code == Result.STOPPED
    count = len(executed)
    refused = Skill(graph, time_limit=3000.0).result()
    assert refused.error_code == Result.STOPPED and "estop" in refused.error_msg
    assert len(executed) <= count + 4  # not more than the chunk that was under way
    estop.publish(Bool(data=False))
    status = graph.collect(PolicyStatus, "policy_server/status", qos.STATUS)
    graph.wait_until(lambda: status and "estop: " not in status[-1].message, "release")
    graph.wait_until(
        lambda: Skill(graph, time_limit=0.2).result().error_code == Result.TIME_LIMIT, "a skill"
    )


def test_robot_of_another_contract_is_refused_with_the_difference(graph, serve):
    serve(contract="panda_calvin", require_contract=True)
    status = graph.collect(PolicyStatus, "policy_server/status", qos.STATUS)
    graph.wait_until(
        lambda: (
            (status and "rgb_static" in status[-1].message)
            or "rgb_static" in graph.processes["policy_server"].log_text()
        ),
        "the difference",
    )


def test_checkpoint_for_another_skill_is_not_served(graph, checkpoint):
    server = graph.start("policy_server", checkpoint=str(checkpoint), skill="close_drawer")
    graph.wait_until(lambda: server.poll() is not None, "end of the server")
    assert server.poll() == 2
    assert "another skill" in server.log_text() and "close_drawer" in server.log_text()


def test_dry_run_publishes_nothing_but_its_status(graph, serve):
    serve(dry_run=True)
    chunks = graph.collect(ActionChunk, "action_chunk", qos.COMMAND)
    executed = graph.collect(ExecutedAction, "executed_action")
    status = graph.collect(PolicyStatus, "policy_server/status", qos.STATUS)
    skill = Skill(graph, time_limit=3000.0)
    graph.wait_until(lambda: status and status[-1].state == PolicyStatus.RUNNING, "running")
    graph.wait_until(lambda: status[-1].chunks > 0, "a plan")
    assert status[-1].dry_run and status[-1].checkpoint
    skill.cancel()
    assert skill.result().error_code == Result.CANCELED
    assert not chunks and not executed


def test_skill_records_itself_with_its_task_and_outcome(graph, serve):
    folder = graph.folder / "bags"
    graph.start("play_recorder", contract=CONTRACT, folder=str(folder))
    status = graph.collect(RecorderStatus, "play_recorder/status", qos.STATUS)
    serve(record=True)
    graph.wait_until(lambda: status and status[-1].active, "recorder")
    graph.wait_until(
        lambda: len(status[-1].topics) > 3 and all(t.publishers for t in status[-1].topics),
        "topics that are recorded",
    )
    sure = Skill(graph, success_threshold=1e-9).result()
    unsure = Skill(graph, time_limit=0.5).result()
    assert (sure.error_code, unsure.error_code) == (Result.NONE, Result.TIME_LIMIT)
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*/episode.json"))]
    assert [record["task"] for record in records] == [TASK, TASK]
    # The threshold of `Skill` is above 1: nobody has judged the second one.
    assert sorted(record["outcome"] for record in records) == ["success", "unknown"]
    assert all("served by checkpoint" in record["note"] for record in records)
