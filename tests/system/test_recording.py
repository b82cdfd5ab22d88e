# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Bridge, teleop and recorder in processes of their own: what was driven is what is recorded."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from diwa_msgs.msg import ActionChunk, EpisodeEvent, RecorderStatus
from diwa_msgs.srv import EndEpisode, ResetScene, StartEpisode
from rosbags.highlevel import AnyReader

from diwa.data.decode import stamp_ns
from diwa.data.episode import find_bags, read_episode
from diwa.sim.tasks import task_succeeded
from diwa_ros import qos

CONTRACT = "panda_calvin_lowdim"
TOPICS = ("/ee_pose", "/joint_states", "/scene_state", "/executed_action")


def start_table(graph, **parameters):
    graph.start("calvin_bridge", **{"contract": CONTRACT, "real_time_factor": 0.0, **parameters})
    graph.start("play_recorder", contract=CONTRACT, folder=str(graph.folder / "bags"))


def read(bag):
    """All messages of a bag by topic, with the types that the bag itself carries."""
    with AnyReader([bag]) as reader:
        messages = {topic: [] for topic in TOPICS}
        for connection, _, data in reader.messages():
            messages[connection.topic].append(reader.deserialize(data, connection.msgtype))
    return messages


def stamps(messages):
    return [stamp_ns(message) for message in messages]


def demonstrate(graph, **parameters):
    teleop = graph.start(
        "teleop",
        **{
            "contract": CONTRACT,
            "mode": "demos",
            "task": "open_drawer",
            "episodes": 2,
            "seed": 5,
            **parameters,
        },
    )
    assert teleop.wait(90) == 0, graph.logs()
    return find_bags(graph.folder / "bags")


def test_demonstrations_are_recorded_frame_by_frame(graph, lowdim_contract):
    start_table(graph)
    bags = demonstrate(graph)
    assert [bag.name[:13] for bag in bags] == ["episode_0000_", "episode_0001_"]
    period = lowdim_contract.period_ns
    for bag in bags:
        record = read_episode(bag)
        assert (record.kind, record.task, record.outcome) == ("demo", "open_drawer", "success")
        assert record.contract == lowdim_contract
        messages = read(bag)
        frames = stamps(messages["/ee_pose"])
        assert np.all(np.diff(frames) == period)
        assert stamps(messages["/joint_states"]) == frames
        assert stamps(messages["/scene_state"]) == frames
        assert stamps(messages["/executed_action"]) == frames[:-1]
        assert len({message.epoch for message in messages["/scene_state"]}) == 1
        first, last = (messages["/scene_state"][index].state for index in (0, -1))
        assert task_succeeded("open_drawer", first, last)
        assert not any(message.held for message in messages["/executed_action"])


def test_recordings_depend_on_the_seed_alone(graph):
    start_table(graph)
    demonstrate(graph, episodes=1)
    bags = demonstrate(graph, episodes=1)
    first, second = (read(bag) for bag in bags)
    for topic, field in (("/scene_state", "state"), ("/executed_action", "action")):
        values = [[getattr(m, field) for m in messages[topic]] for messages in (first, second)]
        assert np.array_equal(*values)


def test_script_survives_lost_actions(graph):
    start_table(graph)
    lost = {3, 17, 18}
    out = graph.publisher()
    seen = []

    def relay(chunk):
        seen.append(chunk.sequence)
        if chunk.sequence in lost:
            lost.remove(chunk.sequence)
        else:
            out.publish(chunk)

    graph.node.create_subscription(ActionChunk, "lossy", relay, qos.COMMAND)
    teleop = graph.start(
        "teleop",
        remappings={"action_chunk": "lossy"},
        contract=CONTRACT,
        mode="play",
        steps_per_episode=40,
    )
    graph.wait_until(lambda: teleop.poll() is not None, "end of teleop")
    assert teleop.poll() == 0, graph.logs()
    assert not lost
    assert sorted(set(seen)) == list(range(1, 41))
    (bag,) = find_bags(graph.folder / "bags")
    messages = read(bag)
    assert len(messages["/executed_action"]) == 40  # none executed twice
    assert len(messages["/ee_pose"]) == 41


def test_play_is_recorded_without_a_task(graph):
    start_table(graph)
    bags = demonstrate(graph, mode="play", task="", episodes=1, steps_per_episode=90)
    record = read_episode(bags[0])
    assert (record.kind, record.task, record.outcome) == ("play", "", "unknown")
    messages = read(bags[0])
    assert len(messages["/ee_pose"]) == 91
    assert len(messages["/executed_action"]) == 90


def test_recorder_takes_images_of_every_step(graph):
    contract = "panda_calvin"
    graph.start("calvin_bridge", contract=contract, real_time_factor=0.0)
    graph.start("play_recorder", contract=contract, folder=str(graph.folder / "bags"))
    bags = demonstrate(
        graph, contract=contract, mode="play", task="", episodes=1, steps_per_episode=10
    )
    with AnyReader([bags[0]]) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
    assert counts["/cameras/static/image_raw"] == 11
    assert counts["/cameras/gripper/image_raw"] == 11


def test_recorder_refuses_a_second_episode_and_moves_discarded_ones(graph):
    start_table(graph)
    events = graph.collect(EpisodeEvent, "play_recorder/events", qos.EVENT)
    status = graph.collect(RecorderStatus, "play_recorder/status", qos.STATUS)
    reset = graph.call(ResetScene, "calvin_bridge/reset", ResetScene.Request(seed=1))
    request = StartEpisode.Request(start=reset.stamp)
    assert graph.call(StartEpisode, "play_recorder/start_episode", request).success
    other = StartEpisode.Request(start=reset.stamp, task="open_drawer")
    refused = graph.call(StartEpisode, "play_recorder/start_episode", other)
    assert not refused.success and "end it first" in refused.message
    graph.wait_until(lambda: status and status[-1].messages == 3, "status with three messages")
    assert {topic.topic: topic.received for topic in status[-1].topics} == {
        "ee_pose": 1,
        "joint_states": 1,
        "scene_state": 1,
        "executed_action": 0,
    }
    ended = graph.call(
        EndEpisode, "play_recorder/end_episode", EndEpisode.Request(discard=True, reason="no")
    )
    assert ended.success and not ended.path
    assert not find_bags(graph.folder / "bags")
    assert [path.name for path in (graph.folder / "bags" / "discarded").iterdir()] == [
        ended.episode_id
    ]
    graph.wait_until(lambda: len(events) == 2, "two events")
    assert [event.kind for event in events] == [EpisodeEvent.STARTED, EpisodeEvent.DISCARDED]
    again = graph.call(EndEpisode, "play_recorder/end_episode", EndEpisode.Request())
    assert not again.success and "no episode" in again.message


def test_recorder_fails_to_start_where_nothing_arrives(graph):
    graph.start("play_recorder", contract=CONTRACT, folder=str(graph.folder / "bags"))
    request = StartEpisode.Request()
    request.start.sec = 1
    answer = graph.call(StartEpisode, "play_recorder/start_episode", request)
    assert not answer.success
    assert "nothing arrives on ee_pose" in answer.message
    assert not any((graph.folder / "bags").iterdir())


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]])
def test_recorder_keeps_the_open_episode_when_it_is_stopped(graph, signals):
    start_table(graph, real_time_factor=1.0)
    assert graph.call(StartEpisode, "play_recorder/start_episode", StartEpisode.Request()).success
    status = graph.collect(RecorderStatus, "play_recorder/status", qos.STATUS)
    graph.wait_until(lambda: status and status[-1].messages > 20, "messages")
    recorder = graph.processes["play_recorder"]
    for number in signals:
        recorder.send(number)
    assert recorder.wait(20) == 0
    (bag,) = find_bags(graph.folder / "bags")
    record = read_episode(bag)
    assert record.outcome == "unknown"
    assert "stopped" in record.reason
    assert not record.recovered
    assert len(read(bag)["/ee_pose"]) >= 5
