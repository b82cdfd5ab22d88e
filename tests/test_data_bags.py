# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
import sys

import numpy as np
import pytest

from diwa.data.bag_reader import BagReader
from diwa.data.bags import BagWriter, contract_topics
from diwa.data.decode import stamp_ns
from diwa.data.episode import EpisodeRecord, find_bags, read_episode
from diwa.data.mcap_scan import McapScan
from diwa.data.message_types import typestore_for
from diwa.errors import ConfigError
from fake_rosbag2 import make_rosbag2
from robot_messages import LockstepRobot, rosbags_factory

JOINTS = "sensor_msgs/msg/JointState"


@pytest.fixture(scope="session")
def types(lowdim_contract):
    return typestore_for(set(contract_topics(lowdim_contract).values()))


def record(contract, **fields):
    return EpisodeRecord(**{"id": "ep", "kind": "play", "contract": contract, **fields})


def write_bag(path, contract, types, steps=5, trailing=b"", **options):
    """A finished bag of a lockstep robot, and its messages as they were written."""
    streams = {key: stream.topic for key, stream in contract.observations.items()}
    names = {**streams, "action": contract.action.topic}
    kinds = contract_topics(contract)
    robot = LockstepRobot(contract, rosbags_factory(contract))
    writer = BagWriter(path, contract, **{"backend": "rosbags", **options})
    written = []
    for index, (key, message) in enumerate(robot.run(steps)):
        data = bytes(types.serialize_cdr(message, kinds[names[key]])) + trailing
        writer.write(names[key], 1000 + index, data)
        written.append((names[key], message))
    writer.close(record(contract))
    return written


def test_bag_returns_what_was_written_in_order(tmp_path, lowdim_contract, types):
    written = write_bag(tmp_path / "bag", lowdim_contract, types)
    with BagReader(tmp_path / "bag") as reader:
        read = list(reader.messages())
        assert {name: count for name, (_, count) in reader.topics.items()} == {
            "/ee_pose": 5,
            "/joint_states": 5,
            "/scene_state": 5,
            "/executed_action": 4,
        }
        assert reader.duration_s == pytest.approx((len(written) - 1) / 1e9, abs=2e-9)
    assert [(name, log) for name, log, _ in read] == [
        (f"/{topic}", 1000 + index) for index, (topic, _) in enumerate(written)
    ]
    for (topic, sent), (_, _, message) in zip(written, read, strict=True):
        assert stamp_ns(message) == stamp_ns(sent)
        if topic == "scene_state":
            np.testing.assert_array_equal(message.state, sent.state)


def test_bag_is_a_rosbag2_folder(tmp_path, lowdim_contract, types):
    write_bag(tmp_path / "bag", lowdim_contract, types)
    assert {path.suffix for path in (tmp_path / "bag").iterdir()} == {".mcap", ".yaml", ".json"}
    text = (tmp_path / "bag/metadata.yaml").read_text()
    assert "storage_identifier: mcap" in text
    assert "diwa_msgs/msg/ExecutedAction" in text


def test_bag_can_be_read_where_no_definition_is_installed(
    tmp_path, lowdim_contract, types, monkeypatch
):
    write_bag(tmp_path / "bag", lowdim_contract, types)
    monkeypatch.setattr("diwa.data.message_types._share_folders", list)
    with BagReader(tmp_path / "bag") as reader:
        assert len(list(reader.messages("/scene_state"))) == 5


def test_namespace_is_kept_and_looked_through(tmp_path, lowdim_contract, types):
    write_bag(tmp_path / "bag", lowdim_contract, types, namespace="arm1")
    with BagReader(tmp_path / "bag") as reader:
        assert reader.find("ee_pose") == "/arm1/ee_pose"
        assert len(list(reader.messages(reader.find("ee_pose")))) == 5
        with pytest.raises(ConfigError, match="no topics pose"):
            reader.find("pose")


def test_two_robots_in_one_bag_are_an_error(tmp_path, lowdim_contract, types):
    extra = {"other/ee_pose": "geometry_msgs/msg/PoseStamped"}
    write_bag(tmp_path / "bag", lowdim_contract, types, extra_topics=extra)
    with BagReader(tmp_path / "bag") as reader, pytest.raises(ConfigError, match="several topics"):
        reader.find("ee_pose")


@pytest.mark.parametrize("extra", [0, 3, 4, 7, 8, 11, 12])
def test_trailing_bytes_of_rclpy_serialisation_are_ignored(tmp_path, lowdim_contract, types, extra):
    written = write_bag(tmp_path / "bag", lowdim_contract, types, trailing=b"\xa5" * extra)
    with BagReader(tmp_path / "bag") as reader:
        for (topic, sent), (_, _, message) in zip(written, reader.messages(), strict=True):
            assert stamp_ns(message) == stamp_ns(sent)
            if topic == "joint_states":
                np.testing.assert_array_equal(message.position, sent.position)


def test_damaged_messages_name_the_bag(tmp_path, lowdim_contract, types):
    write_bag(tmp_path / "bag", lowdim_contract, types, trailing=bytes(40))
    with BagReader(tmp_path / "bag") as reader, pytest.raises(ConfigError, match="/bag: cannot"):
        list(reader.messages())


def test_log_time_never_goes_back(tmp_path, lowdim_contract, types):
    writer = BagWriter(tmp_path / "bag", lowdim_contract, backend="rosbags")
    robot = LockstepRobot(lowdim_contract, rosbags_factory(lowdim_contract))
    times = [50, 70, 60, 80]
    for step, log_ns in enumerate(times):
        message = robot.observation("scene_state", step)
        data = types.serialize_cdr(message, "diwa_msgs/msg/SceneState")
        writer.write("scene_state", log_ns, bytes(data))
    writer.close()
    with BagReader(tmp_path / "bag") as reader:
        stamps = [(log, m.header.stamp.nanosec) for _, log, m in reader.messages()]
    assert stamps == [(50, 0), (70, 33333333), (70, 66666667), (80, 100000000)]


def test_only_finished_recordings_are_episodes(tmp_path, lowdim_contract, types):
    write_bag(tmp_path / "b/good", lowdim_contract, types)
    broken = BagWriter(tmp_path / "b/broken", lowdim_contract, backend="rosbags")
    assert find_bags(tmp_path) == [tmp_path / "b/good"]
    assert find_bags(tmp_path / "b/good") == [tmp_path / "b/good"]
    with pytest.raises(ConfigError, match="broken: not a recorded episode"):
        read_episode(tmp_path / "b/broken")
    with pytest.raises(ConfigError, match="broken: cannot be read"):
        BagReader(tmp_path / "b/broken")
    broken.discard()
    assert not (tmp_path / "b/broken").exists()


def test_truncated_bag_is_named(tmp_path, lowdim_contract, types):
    write_bag(tmp_path / "bag", lowdim_contract, types)
    (path,) = (tmp_path / "bag").glob("*.mcap")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="/bag: cannot be read"):
        BagReader(tmp_path / "bag")


def test_episode_record_survives_the_disk(tmp_path, lowdim_contract, types):
    write_bag(tmp_path / "bag", lowdim_contract, types)
    assert read_episode(tmp_path / "bag") == record(lowdim_contract)
    times = {"started_ns": 10**9, "ended_ns": 4 * 10**9}
    assert record(lowdim_contract, **times).duration_s == 3.0


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_episode_ids_are_file_names(lowdim_contract, name):
    with pytest.raises(ValueError, match="id"):
        record(lowdim_contract, id=name)


def test_an_existing_folder_is_never_overwritten(tmp_path, lowdim_contract):
    with pytest.raises(ConfigError, match="exists already"):
        BagWriter(tmp_path, lowdim_contract)


def test_unknown_message_type_is_named():
    with pytest.raises(ConfigError, match="nobody_msgs/msg/Nothing"):
        typestore_for(["nobody_msgs/msg/Nothing"])


def test_definitions_inside_definitions_are_found(tmp_path, monkeypatch):
    for package, name, text in [
        ("outer_msgs", "Outer", "inner_msgs/Inner[] parts\nstd_msgs/Header header\n"),
        ("inner_msgs", "Inner", "float64[3] values\nOther other\n"),
        ("inner_msgs", "Other", "string text\n"),
    ]:
        path = tmp_path / "share" / package / "msg" / f"{name}.msg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    store = typestore_for(["outer_msgs/msg/Outer"])
    assert {"inner_msgs/msg/Inner", "inner_msgs/msg/Other"} <= set(store.fielddefs)


@pytest.mark.parametrize("distribution", ["jazzy", "humble"])
def test_rosbag2_py_is_used_where_it_is_installed(
    tmp_path, lowdim_contract, types, monkeypatch, distribution
):
    fake = make_rosbag2(distribution)
    monkeypatch.setitem(sys.modules, "rosbag2_py", fake)
    write_bag(tmp_path / "theirs", lowdim_contract, types, backend="auto")
    write_bag(tmp_path / "ours", lowdim_contract, types)
    assert (fake.calls[0].uri, fake.calls[0].max_cache_size) == (str(tmp_path / "theirs"), 0)
    assert fake.calls[0].settings == {"chunkSize": 4096, "compression": "None"}
    assert fake.calls[1:] == ["closed"]
    assert find_bags(tmp_path) == [tmp_path / "ours", tmp_path / "theirs"]
    contents = []
    for name in ("ours", "theirs"):
        with BagReader(tmp_path / name) as reader:
            contents.append((reader.topics, [(t, n, str(m)) for t, n, m in reader.messages()]))
    assert contents[0] == contents[1]


@pytest.mark.parametrize("library", ["rosbags", "rosbag2_py"])
def test_topics_can_be_added_while_a_bag_is_written(
    tmp_path, lowdim_contract, types, monkeypatch, library
):
    monkeypatch.setitem(sys.modules, "rosbag2_py", make_rosbag2())
    writer = BagWriter(tmp_path / "bag", lowdim_contract, topics={}, backend=library)
    robot = LockstepRobot(lowdim_contract, rosbags_factory(lowdim_contract))
    for key, name in (("scene_state", "diwa_msgs/msg/SceneState"), ("joint_states", JOINTS)):
        writer.add_topic(key, name)
        writer.add_topic(key, name)
        data = types.serialize_cdr(robot.observation(key, 0), name)
        writer.write(key, 1, bytes(data))
        writer.flush()
        writer.sync()
    writer.close()
    with BagReader(tmp_path / "bag") as reader:
        assert {name: count for name, (_, count) in reader.topics.items()} == {
            "/scene_state": 1,
            "/joint_states": 1,
        }
        assert len(list(reader.messages())) == 2


def test_flushed_messages_are_in_the_file(tmp_path, lowdim_contract, types):
    writer = BagWriter(tmp_path / "bag", lowdim_contract, backend="rosbags")
    robot = LockstepRobot(lowdim_contract, rosbags_factory(lowdim_contract))
    data = bytes(types.serialize_cdr(robot.observation("joint_states", 0), JOINTS))
    for log_ns in range(3):
        writer.write("joint_states", log_ns, data)
        writer.flush()
        scan = McapScan(tmp_path / "bag/bag.mcap")
        assert [message.log_ns for message in scan.messages()] == list(range(log_ns + 1))
        assert not scan.complete
    writer.close()
    scan = McapScan(tmp_path / "bag/bag.mcap")
    assert {message.data for message in scan.messages()} == {data}
    assert scan.complete and not scan.problem
    assert scan.topics["/joint_states"] == JOINTS


def test_bag_without_messages_can_be_read(tmp_path, lowdim_contract):
    writer = BagWriter(tmp_path / "bag", lowdim_contract, backend="rosbags")
    writer.flush()
    writer.close()
    with BagReader(tmp_path / "bag") as reader:
        assert not list(reader.messages())
        assert len(reader.topics) == 4


def test_discarded_bags_are_not_found_unless_asked_for(tmp_path, lowdim_contract, types):
    for place in ("kept", "discarded/gone", ".recovery/half", "session/discarded/gone"):
        write_bag(tmp_path / "bags" / place, lowdim_contract, types, steps=1)
    folder = tmp_path / "bags"
    assert find_bags(folder) == [folder / "kept"]
    assert find_bags(folder / "discarded") == [folder / "discarded/gone"]
    assert find_bags(folder / "discarded/gone") == [folder / "discarded/gone"]
