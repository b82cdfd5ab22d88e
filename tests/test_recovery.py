# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Bags that were broken off, at any byte and at any step of their making."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import CompressionType, Writer

from diwa.data import recovery
from diwa.data.background_writer import BackgroundWriter
from diwa.data.bag_folder import BagFolder
from diwa.data.bag_lock import BagLock, is_locked
from diwa.data.bag_reader import BagReader
from diwa.data.bags import BagWriter, contract_topics
from diwa.data.decode import stamp_ns
from diwa.data.episode import UNFINISHED, EpisodeRecord, find_bags, read_episode
from diwa.data.mcap_scan import McapScan
from diwa.data.message_types import typestore_for
from diwa.data.recovery import contract_topic, recover_bag
from diwa.errors import ConfigError
from fake_rosbag2 import make_rosbag2
from robot_messages import LockstepRobot, rosbags_factory

STEPS = 40
MESSAGES = 4 * STEPS - 1


@pytest.fixture(params=["rosbags", "rosbag2_py"])
def library(request, monkeypatch):
    monkeypatch.setitem(sys.modules, "rosbag2_py", make_rosbag2())
    return request.param


def begin(path, contract, library="rosbags", opened=True, **fields):
    opening = EpisodeRecord(id=path.name, kind="play", contract=contract, **fields)
    return BagWriter(path, contract, backend=library, opening=opening if opened else None)


def fill(writer, contract, steps=STEPS, flush_every=7):
    """Write a lockstep robot's messages; returns (topic, stamp) of each."""
    kinds = contract_topics(contract)
    types = typestore_for(set(kinds.values()))
    streams = {key: stream.topic for key, stream in contract.observations.items()}
    names = {**streams, "action": contract.action.topic}
    robot = LockstepRobot(contract, rosbags_factory(contract))
    written = []
    for index, (key, message) in enumerate(robot.run(steps)):
        topic = names[key]
        writer.write(topic, index, bytes(types.serialize_cdr(message, kinds[topic])))
        written.append((f"/{topic}", stamp_ns(message)))
        if index % flush_every == flush_every - 1:
            writer.flush()
    return written


def read(bag):
    with BagReader(bag) as reader:
        return [(topic, stamp_ns(message)) for topic, _, message in reader.messages()]


def the_file(bag):
    (path,) = bag.glob("*.mcap")
    return path


def assert_is_finished(bag):
    assert {path.suffix for path in bag.iterdir()} == {".mcap", ".yaml", ".json"}
    assert the_file(bag).name == f"{bag.name}.mcap"
    assert not (bag / UNFINISHED).exists()
    assert find_bags(bag.parent) == [bag]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, lowdim_contract):
    """A bag folder as its killed writer leaves it, all messages flushed, and what is in it."""
    bag = tmp_path_factory.mktemp("whole") / "play_0001_20260102T030405Z"
    writer = begin(bag, lowdim_contract, task="open_drawer", note="n")
    written = fill(writer, lowdim_contract)
    writer.flush()
    writer.abandon()
    return bag, written


def test_broken_off_bag_becomes_a_recovered_episode(tmp_path, lowdim_contract, whole):
    bag, written = tmp_path / whole[0].name, whole[1]
    shutil.copytree(whole[0], bag)
    assert not find_bags(tmp_path)
    record = recover_bag(bag)
    assert record == read_episode(bag)
    assert (record.recovered, record.outcome) == (True, "unknown")
    assert (record.id, record.task, record.note) == (bag.name, "open_drawer", "n")
    assert record.reason.startswith("recovered: the recording was broken off")
    period = lowdim_contract.period_ns
    assert (record.started_ns, record.ended_ns) == (0, pytest.approx((STEPS - 1) * period, abs=99))
    assert {topic.topic: topic.received for topic in record.topics} == {
        "ee_pose": STEPS,
        "joint_states": STEPS,
        "scene_state": STEPS,
        "executed_action": STEPS - 1,
    }
    assert record.problems == ()
    assert read(bag) == written
    assert_is_finished(bag)


def test_what_is_before_any_cut_is_recovered(tmp_path, whole):
    """Whatever byte the file ends at: every message that is complete in it, in order."""
    source, written = whole
    data = the_file(source).read_bytes()
    sizes = np.random.default_rng(0).integers(0, len(data), 25)
    previous = 0
    for size in sorted(int(size) for size in sizes):
        bag = tmp_path / source.name
        shutil.copytree(source, bag)
        the_file(bag).write_bytes(data[:size])
        record = recover_bag(bag)
        found = read(bag)
        assert found == written[: len(found)]
        assert record.recovered and len(found) >= previous
        # No more is lost than what the torn record had: a message, its chunk's head or its index.
        assert len(found) >= (size / len(data)) * MESSAGES - 12
        previous = len(found)
        assert_is_finished(bag)
        shutil.rmtree(bag)


def test_zeros_after_a_power_cut_are_no_messages(tmp_path, whole):
    bag = tmp_path / whole[0].name
    shutil.copytree(whole[0], bag)
    path = the_file(bag)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    found = read_after_recovery(bag)
    assert 0.4 * MESSAGES < len(found) < 0.6 * MESSAGES
    assert found == whole[1][: len(found)]


def read_after_recovery(bag):
    recover_bag(bag)
    return read(bag)


def test_a_bad_chunk_in_the_middle_costs_that_chunk_alone(tmp_path, lowdim_contract, monkeypatch):
    """Chunks of rosbag2_py have checksums."""
    monkeypatch.setitem(sys.modules, "rosbag2_py", make_rosbag2())
    bag = tmp_path / "e_0001"
    writer = begin(bag, lowdim_contract, "rosbag2_py")
    written = fill(writer, lowdim_contract)
    writer.close()
    data = bytearray(the_file(bag).read_bytes())
    data[len(data) // 2] ^= 0xFF
    the_file(bag).write_bytes(data)
    record = recover_bag(bag)
    found = read(bag)
    lost = [item for item in written if item not in found]
    assert 0 < len(lost) < 60
    assert "a chunk cannot be read" in record.reason or "a record cannot be read" in record.reason
    assert not list(bag.glob("*_0.mcap"))
    assert_is_finished(bag)


def test_finished_but_unmarked_bag_is_recovered_whole(tmp_path, lowdim_contract, library):
    """Killed after the index was written and before episode.json."""
    bag = tmp_path / "e_0001"
    writer = begin(bag, lowdim_contract, library)
    written = fill(writer, lowdim_contract)
    writer.close()
    record = recover_bag(bag)
    assert record.recovered
    assert read(bag) == written
    assert_is_finished(bag)


def test_episode_with_a_left_over_mark_stays_as_it_is(tmp_path, lowdim_contract):
    bag = tmp_path / "e_0001"
    writer = begin(bag, lowdim_contract)
    fill(writer, lowdim_contract)
    mark = (bag / UNFINISHED).read_bytes()
    done = EpisodeRecord(id=bag.name, kind="play", contract=lowdim_contract, outcome="success")
    writer.close(done)
    (bag / UNFINISHED).write_bytes(mark)
    before = the_file(bag).read_bytes()
    assert recover_bag(bag) == done
    assert the_file(bag).read_bytes() == before
    assert_is_finished(bag)


def test_bag_that_is_being_written_is_never_touched(tmp_path, lowdim_contract):
    bag = tmp_path / "e_0001"
    writer = begin(bag, lowdim_contract)
    fill(writer, lowdim_contract)
    names = sorted(path.name for path in bag.iterdir())
    with pytest.raises(ConfigError, match="e_0001: is being written"):
        recover_bag(bag)
    assert is_locked(bag)
    assert BagFolder(tmp_path).broken_off() == []
    assert sorted(path.name for path in bag.iterdir()) == names
    writer.abandon()
    assert not is_locked(bag)
    assert BagFolder(tmp_path).broken_off() == [bag]


def test_bag_without_a_single_message_becomes_an_empty_episode(tmp_path, lowdim_contract, library):
    bag = tmp_path / "e_0001"
    begin(bag, lowdim_contract, library).abandon()
    record = recover_bag(bag)
    assert (record.started_ns, record.ended_ns) == (0, 0)
    assert all(topic.problem == "nothing arrived" for topic in record.topics)
    assert read(bag) == []
    assert_is_finished(bag)


def test_bag_without_its_facts_needs_a_contract(tmp_path, lowdim_contract, monkeypatch):
    bag = tmp_path / "e_0001"
    writer = begin(bag, lowdim_contract, opened=False)
    written = fill(writer, lowdim_contract)
    writer.flush()
    writer.abandon()
    folder = BagFolder(tmp_path)
    assert folder.broken_off() == []  # perhaps it is just beginning
    monkeypatch.setattr("diwa.data.bag_folder.BEGINNING_S", -1.0)
    assert folder.broken_off() == [bag]
    with pytest.raises(ConfigError, match="nothing says what was recorded"):
        recover_bag(bag)
    assert recover_bag(bag, lowdim_contract).kind == "play"
    assert read(bag) == written


@pytest.mark.parametrize("step", ["replace", "write_episode", "unlink"])
def test_recovery_that_is_broken_off_is_done_again(
    tmp_path, lowdim_contract, monkeypatch, step, library
):
    bag = tmp_path / "e_0001"
    writer = begin(bag, lowdim_contract, library)
    written = fill(writer, lowdim_contract)
    writer.flush()
    writer.abandon()

    class PowerCutError(Exception):
        pass

    def cut(*arguments, **options):
        raise PowerCutError

    with monkeypatch.context() as patch:
        if step == "write_episode":
            patch.setattr(recovery, "write_episode", cut)
        else:
            patch.setattr(Path, step, cut)
            patch.setattr(BagLock, "release", lambda self: os.close(self._descriptor))
        with pytest.raises(PowerCutError):
            recover_bag(bag)
    assert recover_bag(bag).recovered
    assert read(bag) == written
    assert_is_finished(bag)


def test_recovery_needs_room_and_says_so(tmp_path, whole, monkeypatch):
    bag = tmp_path / whole[0].name
    shutil.copytree(whole[0], bag)
    before = the_file(bag).read_bytes()
    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ConfigError, match="no room to repair it"):
        recover_bag(bag)
    assert the_file(bag).read_bytes() == before
    assert (bag / UNFINISHED).is_file()


KILLED = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from diwa.data.background_writer import BackgroundWriter
from diwa.data.contract import load_contract
from test_recovery import begin, fill

contract = load_contract(Path({contract!r}))
bag = begin(Path({bag!r}), contract)
writer = BackgroundWriter(bag)

class Collected:
    def write(self, topic, log_ns, data):
        writer.write(topic, contract.observations.get(topic, contract.action).type, log_ns, data)
    def flush(self):
        pass

fill(Collected(), contract)
while writer._written < writer._taken or bag._storage._file.chunk.msgs:
    pass  # until the threads have handed everything over
print("written", flush=True)
sys.stdin.read()
"""


def test_kill_9_of_the_writer_loses_nothing_that_was_handed_over(tmp_path, root, lowdim_contract):
    bag = tmp_path / "e_0001"
    code = KILLED.format(
        paths=[str(root / "src/diwa_ros"), str(root / "tests")],
        contract=str(root / "config/contracts/panda_calvin_lowdim.yaml"),
        bag=str(bag),
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "written\n"
        assert is_locked(bag)
        with pytest.raises(ConfigError, match="is being written"):
            recover_bag(bag)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not is_locked(bag)
    recover_bag(bag)
    assert len(read(bag)) == MESSAGES
    assert_is_finished(bag)


@pytest.mark.parametrize("compression", ["ZSTD", "LZ4"])
def test_compressed_chunks_of_other_writers_are_read(tmp_path, compression):
    path = tmp_path / "x.mcap"
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=1000, compression=CompressionType[compression])
        writer.start()
        schema = writer.register_schema("p/msg/T", "ros2msg", b"int32 x")
        channel = writer.register_channel("/t", "cdr", schema)
        for index in range(100):
            writer.add_message(channel, index, bytes([index]) * 100, index)
        writer.finish()
    scan = McapScan(path)
    assert [message.data[0] for message in scan.messages()] == list(range(100))
    assert scan.complete and not scan.problem
    data = bytearray(path.read_bytes())
    name = compression.lower().encode()
    second = data.index(name, data.index(name) + 4) + 20  # the first one declares the topic
    data[second : second + 8] = b"\xff" * 8
    path.write_bytes(data)
    scan = McapScan(path)
    found = [message.log_ns for message in scan.messages()]
    lost = sorted(set(range(100)) - set(found))
    assert lost == list(range(lost[0], lost[-1] + 1)) and 0 < len(lost) < 20
    assert found == [number for number in range(100) if number not in lost]
    assert "a chunk cannot be read" in scan.problem


class BrokenError(RuntimeError):
    pass


def test_any_error_of_the_library_stops_the_writing_and_leaves_the_bag(
    tmp_path, lowdim_contract, monkeypatch
):
    bag = tmp_path / "e_0001"
    writer = BackgroundWriter(begin(bag, lowdim_contract))

    def fail(self):
        raise BrokenError("no more")

    monkeypatch.setattr(BagWriter, "flush", fail)
    writer._threads[0].join(30)
    for act in (writer.check, lambda: writer.write("ee_pose", "", 0, b"")):
        with pytest.raises(OSError, match="BrokenError: no more"):
            act()
    monkeypatch.undo()
    record = EpisodeRecord(id=bag.name, kind="play", contract=lowdim_contract)
    with pytest.raises(OSError, match="no more"):
        writer.close(record, {})
    assert not find_bags(tmp_path)
    assert BagFolder(tmp_path).broken_off() == [bag]
    assert recover_bag(bag).recovered


def test_messages_that_wait_for_the_disk_are_bounded(tmp_path, lowdim_contract, monkeypatch):
    bag = tmp_path / "e_0001"
    writer = BackgroundWriter(begin(bag, lowdim_contract), most_bytes=1000)
    released = threading.Event()
    monkeypatch.setattr(BagWriter, "flush", lambda self: released.wait(30))
    data = bytes(100)
    with pytest.raises(OSError, match="the disk is too slow"):
        while True:
            writer.write("ee_pose", "geometry_msgs/msg/PoseStamped", 1, data)
    released.set()
    writer.discard()
    assert not bag.exists()


def test_bag_that_cannot_be_marked_leaves_nothing_behind(tmp_path, lowdim_contract, monkeypatch):
    def no_space(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diwa.data.bags.write_json", no_space)
    with pytest.raises(OSError, match="No space left"):
        begin(tmp_path / "e_0001", lowdim_contract)
    assert not (tmp_path / "e_0001").exists()


def test_scan_says_what_is_no_mcap_file(tmp_path):
    (tmp_path / "x.mcap").write_bytes(b"something else entirely")
    scan = McapScan(tmp_path / "x.mcap")
    assert list(scan.messages()) == []
    assert "no MCAP file" in scan.problem


def test_names_in_a_bag_stand_for_topics_of_the_contract():
    known = {"ee_pose": "P", "cameras/static/image_raw": "I"}
    assert contract_topic("/arm1/ee_pose", known) == "ee_pose"
    name = "/cameras/static/image_raw"
    assert contract_topic(f"{name}/compressed", known) == contract_topic(name, known) == name[1:]
    assert contract_topic("/their_ee_pose", known) == ""
