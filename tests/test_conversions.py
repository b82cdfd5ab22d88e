# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays to messages, over the wire format, and back."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from diwa_msgs.msg import EpisodeEvent, ExecutedAction, RecorderStatus, TrainingStatus
from rclpy.serialization import deserialize_message, serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from diwa.control.filter import SafeAction
from diwa.data.contract import ActionSpec
from diwa.data.decode import decode, decode_action, epoch_of, stamp_ns
from diwa.data.episode import EpisodeRecord
from diwa.data.episode_cadence import EpisodeCadence
from diwa.errors import ConfigError
from diwa_ros import conversions, recorder_messages
from diwa_ros.finished_episodes import Tally
from diwa_ros.table import Executed

STAMP_NS = 1_234_567_891_234
EPOCH = 4_000_000_000


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def rng():
    return np.random.default_rng(3)


def round_trip_clock(contract):
    message = Clock()
    conversions.fill_clock(message, STAMP_NS)
    assert conversions.time_ns(over_the_wire(message).clock) == STAMP_NS


def round_trip_pose(contract):
    stream = contract.observations["ee_pose"]
    pose = rng().normal(size=7)
    message = conversions.make_pose(stream.frame_id)
    conversions.fill_pose(message, STAMP_NS, pose)
    received = over_the_wire(message)
    assert stamp_ns(received) == STAMP_NS
    assert np.array_equal(decode(received, stream), pose)


def round_trip_joints(contract):
    stream = contract.observations["joint_states"]
    message = conversions.make_joints(stream.names)
    for _ in range(2):  # the message is used again
        positions = rng().normal(size=9)
        conversions.fill_joints(message, STAMP_NS, positions)
        received = over_the_wire(message)
        assert stamp_ns(received) == STAMP_NS
        assert np.array_equal(decode(received, stream), positions)


def round_trip_scene(contract):
    stream = contract.observations["scene_state"]
    state = rng().normal(size=24).astype(np.float32)
    message = conversions.make_scene()
    conversions.fill_scene(message, STAMP_NS, EPOCH, state)
    received = over_the_wire(message)
    assert (stamp_ns(received), epoch_of(received)) == (STAMP_NS, EPOCH)
    assert np.array_equal(decode(received, stream), state)


def round_trip_image(contract):
    stream = contract.observations["rgb_static"]
    image = rng().integers(0, 256, (stream.height, stream.width, 3), dtype=np.uint8)
    message = conversions.make_image(stream.frame_id, stream.encoding)
    conversions.fill_image(message, STAMP_NS, image[:, ::-1])  # not contiguous
    received = over_the_wire(message)
    assert (stamp_ns(received), received.header.frame_id) == (STAMP_NS, stream.frame_id)
    assert np.array_equal(decode(received, stream), image[:, ::-1])


def round_trip_executed(contract):
    action = rng().uniform(-1, 1, 7).astype(np.float32)
    safe = SafeAction(action, True, False, True, False)
    executed = Executed(STAMP_NS, action * 2, safe, held=False)
    message = ExecutedAction()
    conversions.fill_executed(message, executed, EPOCH)
    received = over_the_wire(message)
    assert (stamp_ns(received), epoch_of(received)) == (STAMP_NS, EPOCH)
    assert np.array_equal(decode_action(received), action)
    assert np.array_equal(received.requested, action * 2)
    flags = ("clipped", "workspace_limited", "leashed", "rejected", "held")
    assert [getattr(received, flag) for flag in flags] == [True, False, True, False, False]


def round_trip_chunk(contract):
    chunk = rng().uniform(-1, 1, (4, 7)).astype(np.float32)
    received = over_the_wire(conversions.make_chunk(chunk, STAMP_NS, EPOCH, 7, 1 / 30))
    assert (stamp_ns(received), epoch_of(received), received.sequence) == (STAMP_NS, EPOCH, 7)
    assert received.step_period == 1 / 30
    assert np.array_equal(conversions.decode_chunk(received, contract.action), chunk)


def round_trip_hold(contract):
    received = over_the_wire(conversions.make_hold(STAMP_NS, EPOCH, 8))
    assert conversions.decode_chunk(received, contract.action).shape == (0, 7)
    assert epoch_of(received) == EPOCH


def round_trip_training_status(contract):
    message = TrainingStatus(run="/runs/a")
    progress = {
        "event": "progress",
        "stage": "policy",
        "stage_index": 2,
        "stages": 6,
        "progress": 0.25,
        "remaining_s": None,
        "metrics": {"loss": 0.5},
    }
    conversions.fill_training_status(message, progress)
    received = over_the_wire(message)
    assert (received.run, received.stage, received.stage_index) == ("/runs/a", "policy", 2)
    assert (received.stages, received.progress, received.remaining) == (6, 0.25, -1.0)
    assert json.loads(received.metrics_json) == {"loss": 0.5}


def round_trip_cadence_statistics(contract):
    cadence = EpisodeCadence(contract)
    cadence.topics["ee_pose"].source = "arm/ee_pose"
    cadence.topics["ee_pose"].reliability = "best_effort"
    for step in (0, 1, 2, 5):  # two are missing
        cadence.push("ee_pose", STAMP_NS + step * contract.period_ns, STAMP_NS, 80)
    cadence.topics["ee_pose"].lost(3)
    messages = recorder_messages.cadence_statistics(
        cadence, STAMP_NS + 500_000_000, {"ee_pose": 2}, cadence
    )
    pose, *silent = [over_the_wire(message) for message in messages]
    assert (pose.topic, pose.source, pose.publishers) == ("ee_pose", "arm/ee_pose", 2)
    assert (pose.received, pose.bytes, pose.reliability) == (4, 320, "best_effort")
    assert (pose.gaps, pose.missing, pose.lost) == (1, 2, 3)
    assert (pose.recent_rate, pose.byte_rate) == (8.0, 640.0)
    assert "missing" in pose.problem
    assert {message.source for message in silent} == set(cadence.topics) - {"ee_pose"}
    assert {message.problem for message in silent} == {"nothing arrived"}


def round_trip_recorder_status(contract):
    cadence = EpisodeCadence(contract)
    for step in range(2):
        cadence.push("ee_pose", STAMP_NS + step * contract.period_ns, STAMP_NS, 80)
    opening = EpisodeRecord(id="play_0001", kind="demo", task="open_drawer", contract=contract)
    session = SimpleNamespace(
        recording=None,
        latest=SimpleNamespace(
            opening=opening, cadence=cadence, duration_s=lambda now_ns: now_ns / 1e9
        ),
        finished=SimpleNamespace(
            tally=Tally(kept=4, flagged=3, discarded=2, recovered=1), records={}
        ),
        folder=SimpleNamespace(path=Path("bags")),
        free_bytes=lambda: 5,
        error="late",
    )
    message = RecorderStatus()
    recorder_messages.fill_recorder_status(message, session, 2_000_000_000, {"ee_pose": 2}, cadence)
    received = over_the_wire(message)
    assert (received.episode_id, received.task, received.recording) == (
        "play_0001",
        "open_drawer",
        False,
    )
    assert (received.messages, received.bytes, received.duration) == (2, 160, 2.0)
    assert (received.episodes_recorded, received.episodes_flagged) == (4, 3)
    assert (received.episodes_discarded, received.episodes_recovered) == (2, 1)
    assert (received.free_space, received.last_error) == (5, "late")
    assert Path(received.folder).is_absolute()
    assert received.topics[0].publishers == 2


def test_before_the_first_episode_only_recent_rates_are_told(lowdim_contract):
    listened = EpisodeCadence(lowdim_contract)
    for step in (0, 1, 2, 9):
        listened.push("ee_pose", STAMP_NS, STAMP_NS + step, 80)
    messages = recorder_messages.cadence_statistics(None, STAMP_NS + 500_000_000, {}, listened)
    assert {message.topic: message.recent_rate for message in messages} == {
        "ee_pose": 8.0,
        "joint_states": 0.0,
        "scene_state": 0.0,
        "executed_action": 0.0,
    }
    assert not any(message.problem or message.received or message.gaps for message in messages)
    assert all(message.expected_rate == 30 for message in messages)


def round_trip_event(contract):
    record = EpisodeRecord(
        id="e",
        kind="demo",
        task="open_drawer",
        outcome="failure",
        contract=contract,
        problems=("thin",),
    )
    received = over_the_wire(recorder_messages.episode_event(record, EpisodeEvent.ENDED, "late"))
    assert (received.episode_id, received.kind, received.task) == ("e", 1, "open_drawer")
    assert (received.reason, received.problems) == ("late", ["thin"])
    assert recorder_messages.outcome_name(received.outcome) == "failure"
    assert recorder_messages.outcome_name(99) == "unknown"


ROUND_TRIPS = {name[11:]: value for name, value in globals().items() if name.startswith("round_t")}


@pytest.mark.parametrize("name", ROUND_TRIPS)
def test_message_comes_back_as_it_was(camera_contract, name):
    ROUND_TRIPS[name](camera_contract)


def test_round_trips_cover_every_message_that_is_made():
    names = [*vars(conversions), *vars(recorder_messages)]
    made = {name.split("_", 1)[1] for name in names if name.startswith(("fill_", "make_"))}
    assert made <= set(ROUND_TRIPS)


def test_every_stream_of_the_contracts_has_a_message_type(camera_contract):
    for stream in camera_contract.observations.values():
        assert conversions.message_type(stream.type).__name__ == stream.type.split("/")[-1]


@pytest.mark.parametrize("name", ["PoseStamped", "geometry_msgs/msg/Nothing", "no_msgs/msg/Pose"])
def test_unknown_message_type_is_a_config_error(name):
    with pytest.raises(ConfigError, match=name.split("/")[-1]):
        conversions.message_type(name)


def test_request_that_is_no_action_is_reported_as_zeros():
    safe = SafeAction(np.zeros(7, dtype=np.float32), False, False, False, True)
    message = ExecutedAction()
    conversions.fill_executed(message, Executed(0, np.ones(3), safe, held=False), 0)
    assert np.array_equal(message.requested, np.zeros(7))
    assert message.rejected


@pytest.mark.parametrize(("steps", "size", "numbers"), [(2, 7, 13), (2, 6, 12), (1, 14, 14)])
def test_chunk_of_other_dimensions_is_refused(steps, size, numbers):
    message = conversions.make_chunk(np.zeros((1, 7), dtype=np.float32), 0, 0, 0, 0.1)
    message.steps, message.action_size, message.data = steps, size, [0.0] * numbers
    with pytest.raises(ConfigError, match="dimensions"):
        conversions.decode_chunk(message, ActionSpec())


def test_stamp_is_read_from_serialised_messages():
    message = JointState(name=["a"])
    conversions.set_stamp(message.header.stamp, STAMP_NS)
    assert conversions.serialized_stamp_ns(serialize_message(message)) == STAMP_NS


def test_empty_list_is_no_array():
    assert conversions.float_list([]) is None
    assert np.array_equal(conversions.float_list([1, 2]), [1.0, 2.0])
