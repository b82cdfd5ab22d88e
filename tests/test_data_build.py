# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
import itertools
import tracemalloc

import cv2
import numpy as np
import pytest

from bag_files import lockstep_bag, serializer, write_bag
from diwa.data.build import build_dataset
from diwa.data.build_report import as_text, read_reports
from diwa.data.convert import COMPRESSED, BagFrames
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.episode import read_episode, write_episode
from diwa.data.frames import FrameBuilder
from diwa.data.message_types import typestore_for
from diwa.errors import ConfigError
from robot_messages import LockstepRobot, ros_factory, rosbags_factory


@pytest.fixture
def make_bag(tmp_path, lowdim_contract):
    def make(name, steps=20, resets=(), seed=0, **record):
        robot = LockstepRobot(lowdim_contract, rosbags_factory(lowdim_contract), seed)
        bounds = [0, *resets, steps]
        messages = []
        for begin, end in itertools.pairwise(bounds):
            messages += robot.run(end - begin, first_step=begin)
            robot.epoch += 1
        return write_bag(tmp_path / name, lowdim_contract, messages, **record)

    return make


class Counter:
    def __init__(self):
        self.calls = []

    def start(self, name, total):
        self.calls.append((name, total))

    def advance(self, n=1, **metrics):
        self.calls.append((n, metrics))

    def finish(self):
        self.calls.append("finish")


@pytest.mark.parametrize("contract_name", ["lowdim_contract", "camera_contract"])
def test_live_frames_equal_the_dataset_made_from_the_bag(tmp_path, request, contract_name):
    """Record-to-train parity, bit for bit, with real messages serialised by rclpy."""
    serialization = pytest.importorskip(
        "rclpy.serialization", reason="no ROS client library", exc_type=ImportError
    )
    pytest.importorskip("diwa_msgs.msg", reason="diwa_msgs is not built", exc_type=ImportError)
    contract = request.getfixturevalue(contract_name)
    messages = list(LockstepRobot(contract, ros_factory).run(25))
    builder = FrameBuilder(contract)
    live = []
    for key, message in messages:
        builder.push_message(key, message)
        live += builder.pop()
    bag = write_bag(
        tmp_path / "bag",
        contract,
        messages,
        lambda key, message: serialization.serialize_message(message),
    )
    dataset = build_dataset([bag], tmp_path / "data")
    (info,) = dataset.episodes
    assert info.length == len(live) == 25
    stored = {key: dataset.array(info.id, key) for key in dataset.keys}
    for t, frame in enumerate(live):
        assert stored["stamp_ns"][t] == frame.stamp_ns
        assert frame.is_first == (t == 0)
        for key, value in frame.observation.items():
            assert stored[key].dtype == value.dtype
            assert stored[key][t].tobytes() == value.tobytes(), (key, t)
        if t > 0:
            assert stored["action"][t - 1].tobytes() == frame.previous_action.tobytes()
    assert stored["action"][-1].tolist() == list(contract.action.neutral)


def test_dataset_holds_the_labels_and_actions_of_the_bags(make_bag, tmp_path, lowdim_contract):
    bags = [
        make_bag("play", steps=40, seed=1),
        make_bag("demo", steps=15, seed=2, kind="demo", task="open_drawer", outcome="success"),
    ]
    dataset = build_dataset(bags, tmp_path / "data")
    assert [(i.id, i.length, i.kind, i.task, i.outcome, i.source) for i in dataset.episodes] == [
        ("demo", 15, "demo", "open_drawer", "success", "demo"),
        ("play", 40, "play", "", "unknown", "play"),
    ]
    robot = LockstepRobot(lowdim_contract, seed=2)
    sent = [message.action for key, message in robot.run(15) if key == "action"]
    np.testing.assert_array_equal(dataset.array("demo", "action")[:-1], sent)


def test_reset_in_a_recording_makes_two_episodes(make_bag, tmp_path):
    bag = make_bag("demo", steps=30, resets=[12], kind="demo", outcome="success")
    dataset = build_dataset([bag], tmp_path / "data")
    assert [(i.id, i.length, i.outcome) for i in dataset.episodes] == [
        ("demo", 12, "unknown"),
        ("demo-2", 18, "success"),
    ]
    neutral = list(dataset.contract.action.neutral)
    assert dataset.array("demo", "action")[-1].tolist() == neutral


def test_workers_make_the_same_dataset(make_bag, tmp_path):
    bags = [make_bag(f"ep{i}", seed=i) for i in range(4)]
    counter = Counter()
    alone = build_dataset(bags, tmp_path / "alone", workers=0, progress=counter)
    together = build_dataset(bags[::-1], tmp_path / "together", workers=2)
    assert alone.manifest == together.manifest
    assert counter.calls[0] == ("dataset", 4)
    assert counter.calls[1:-1] == [(1, {"frames": 20 * n}) for n in (1, 2, 3, 4)]
    assert counter.calls[-1] == "finish"


def test_broken_off_build_goes_on_where_it_stopped(make_bag, tmp_path, monkeypatch):
    bags = [make_bag(f"ep{i}", seed=i) for i in range(3)]

    class StopAfterTwo(Counter):
        def advance(self, n=1, **metrics):
            super().advance(n, **metrics)
            if len(self.calls) == 3:
                raise KeyboardInterrupt

    out = tmp_path / "data"
    with pytest.raises(KeyboardInterrupt):
        build_dataset(bags, out, workers=0, progress=StopAfterTwo())
    with pytest.raises(ConfigError, match="not a finished dataset"):
        Dataset.open(out)
    read = []
    monkeypatch.setattr(
        "diwa.data.convert.BagFrames", lambda bag, c: read.append(bag.name) or BagFrames(bag, c)
    )
    resumed = build_dataset(bags, out, workers=0)
    assert read == ["ep2"]
    monkeypatch.undo()
    assert resumed.manifest == build_dataset(bags, tmp_path / "anew", workers=0).manifest


def test_a_bag_that_changed_is_converted_again(make_bag, tmp_path):
    bag = make_bag("ep", outcome="failure")
    first = build_dataset([bag], tmp_path / "data")
    text = (bag / "episode.json").read_text()
    (bag / "episode.json").write_text(text.replace("failure", "success"))
    second = build_dataset([bag], tmp_path / "data")
    assert [d.episodes[0].outcome for d in (first, second)] == ["failure", "success"]


def test_dataset_is_of_exactly_the_given_bags(make_bag, tmp_path):
    bags = [make_bag(f"ep{i}", seed=i) for i in range(3)]
    build_dataset(bags, tmp_path / "data")
    dataset = build_dataset(bags[1:], tmp_path / "data")
    assert [info.id for info in dataset.episodes] == ["ep1", "ep2"]


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_name_the_bag(make_bag, tmp_path, workers):
    bags = [make_bag(f"ep{i}", seed=i) for i in range(2)]
    (path,) = bags[1].glob("*.mcap")
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ConfigError, match="/ep1: cannot be read"):
        build_dataset(bags, tmp_path / "data", workers=workers)


def test_bags_of_another_contract_are_refused(make_bag, tmp_path, camera_contract):
    bag = make_bag("ep")
    with pytest.raises(ConfigError, match="another contract") as caught:
        build_dataset([bag], tmp_path / "data", camera_contract)
    assert str(bag) in str(caught.value)


def test_two_bags_with_one_id_are_refused(make_bag, tmp_path):
    bags = [make_bag("a", id="same"), make_bag("b", id="same")]
    with pytest.raises(ConfigError, match="same episode id"):
        build_dataset(bags, tmp_path / "data")


def test_recordings_without_two_frames_make_no_dataset(make_bag, tmp_path):
    with pytest.raises(ConfigError, match="no episodes"):
        build_dataset([make_bag("ep", steps=1)], tmp_path / "data")
    with pytest.raises(ConfigError, match="no bags given"):
        build_dataset([], tmp_path / "data")


def test_numbers_that_are_not_finite_name_the_bag(make_bag, tmp_path, monkeypatch):
    monkeypatch.setattr(
        LockstepRobot,
        "_scene",
        lambda self, stream, header: self.make(
            stream.type,
            header=header,
            epoch=0,
            state=np.full(stream.size, np.nan, dtype=np.float32),
        ),
    )
    with pytest.raises(ConfigError, match=r"(?s)/ep: cannot be used.*scene_state is not finite"):
        build_dataset([make_bag("ep")], tmp_path / "data")


def test_new_labels_of_a_recording_are_taken_over_without_reading_it(
    make_bag, tmp_path, monkeypatch
):
    bag = make_bag("ep", steps=30, resets=[12])
    first = build_dataset([bag], tmp_path / "data")
    record = read_episode(bag)
    changes = {"kind": "demo", "task": "open_drawer", "outcome": "success"}
    write_episode(bag, record.model_copy(update=changes))
    monkeypatch.setattr("diwa.data.convert.BagFrames", None)
    second = build_dataset([bag], tmp_path / "data")
    assert [(i.kind, i.task, i.outcome) for i in second.episodes] == [
        ("demo", "open_drawer", "unknown"),
        ("demo", "open_drawer", "success"),
    ]
    assert [i.content for i in first.episodes] == [i.content for i in second.episodes]


def test_report_says_what_became_of_every_bag(make_bag, tmp_path):
    bags = [make_bag("whole", steps=40), make_bag("cut", steps=30, resets=[12], seed=1)]
    dataset = build_dataset(bags, tmp_path / "data")
    reports = read_reports(tmp_path / "data")
    assert {name: report.episodes for name, report in reports.items()} == {
        "cut": ("cut", "cut-2"),
        "whole": ("whole",),
    }
    assert [(s.cause, s.frames) for s in reports["cut"].segments] == [("start", 12), ("reset", 18)]
    assert reports["whole"].remarks == ()
    assert reports["cut"].remarks == ("reset at 0.4 s",)
    assert reports["whole"].lost_frames == reports["cut"].lost_frames == 0
    assert sum(report.frames for report in reports.values()) == 70
    assert sum(info.length for info in dataset.episodes) == 70
    text = as_text(list(reports.values()))
    assert "1 of 2 bags with remarks" in text
    assert "reset at 0.4 s" in text


def test_report_counts_held_late_and_missing(tmp_path, lowdim_contract):
    pairs = list(LockstepRobot(lowdim_contract, rosbags_factory(lowdim_contract)).run(30))
    joints = [pair for pair in pairs if pair[0] == "joint_states"]
    lost = [joints[n] for n in (5, 15, 16)]
    kept = [pair for pair in pairs if not any(pair is other for other in lost)]
    twice = [pair for pair in kept for _ in range(1 + (pair is joints[20]))]
    build_dataset([write_bag(tmp_path / "ep", lowdim_contract, twice)], tmp_path / "data")
    report = read_reports(tmp_path / "data")["ep"]
    counts = report.keys["joint_states"]
    assert (counts.received, counts.held, counts.late, counts.missing) == (28, 2, 1, 1)
    assert counts.oldest_s == pytest.approx(1 / 30, abs=1e-6)
    assert report.lost_frames == 1
    assert report.remarks == ("no joint_states in time at 0.6 s", "1 late on joint_states")
    assert report.keys["ee_pose"].held == 0


def test_report_names_a_topic_that_was_silent(tmp_path, lowdim_contract):
    robot = LockstepRobot(lowdim_contract, rosbags_factory(lowdim_contract))
    pairs = [pair for pair in robot.run(20) if pair[0] != "scene_state"]
    bags = [
        write_bag(tmp_path / "silent", lowdim_contract, pairs),
        write_bag(tmp_path / "good", lowdim_contract, robot.run(20)),
    ]
    dataset = build_dataset(bags, tmp_path / "data")
    assert [info.id for info in dataset.episodes] == ["good"]
    assert read_reports(tmp_path / "data")["silent"].remarks == ("nothing on scene_state",)


@pytest.mark.parametrize("workers", [0, 2])
def test_bags_that_cannot_be_used_may_be_left_out(make_bag, tmp_path, workers):
    bags = [make_bag(f"ep{i}", seed=i) for i in range(3)]
    (path,) = bags[1].glob("*.mcap")
    path.write_bytes(path.read_bytes()[:1000])
    (bags[2] / "episode.json").write_text("{")
    problems = {}
    dataset = build_dataset(
        bags,
        tmp_path / "data",
        workers=workers,
        on_problem=lambda bag, error: problems.update({bag.name: str(error)}),
    )
    assert [info.id for info in dataset.episodes] == ["ep0"]
    assert sorted(problems) == ["ep1", "ep2"]
    assert all(str(bags[n]) in problems[f"ep{n}"] for n in (1, 2))


def test_no_usable_bag_is_an_error(make_bag, tmp_path):
    bag = make_bag("ep")
    (bag / "episode.json").unlink()
    with pytest.raises(ConfigError, match="none of 1 bags"):
        build_dataset([bag], tmp_path / "data", on_problem=lambda bag, error: None)


def test_progress_counts_the_seconds_of_the_recordings(make_bag, tmp_path):
    second = 10**9
    bags = [
        make_bag("long", steps=300, seed=1, ended_ns=7 * second),
        make_bag("short", steps=30, seed=2, ended_ns=second // 2),
    ]
    for workers in (0, 2):
        counter = Counter()
        build_dataset(bags, tmp_path / f"data{workers}", workers=workers, progress=counter)
        assert counter.calls[0] == ("dataset", 8)
        assert sum(call[0] for call in counter.calls[1:-1]) == 8
    counter = Counter()
    build_dataset(bags, tmp_path / "data0", progress=counter)
    assert sum(call[0] for call in counter.calls[1:-1]) == 8


def test_long_segments_are_written_in_blocks_of_the_same_content(make_bag, tmp_path, monkeypatch):
    bag = make_bag("ep", steps=150)
    whole = build_dataset([bag], tmp_path / "whole")
    for block in (2, 7, 150):
        monkeypatch.setattr("diwa.data.segments.FRAMES_AT_ONCE", block)
        assert build_dataset([bag], tmp_path / f"by{block}").manifest == whole.manifest
    arrays = {key: np.array(whole.array("ep", key)) for key in whole.keys}
    writer = DatasetWriter(tmp_path / "at-once", whole.contract)
    writer.add_episode("ep", "play", "", "unknown", arrays, source="ep")
    assert writer.finish().manifest == whole.manifest


def test_one_frame_between_two_gaps_becomes_no_episode(make_bag, tmp_path):
    dataset = build_dataset([make_bag("ep", steps=20, resets=[8, 9])], tmp_path / "data")
    assert [(info.id, info.length) for info in dataset.episodes] == [("ep", 8), ("ep-2", 11)]
    segments = read_reports(tmp_path / "data")["ep"].segments
    assert [(s.episode, s.frames) for s in segments] == [("ep", 8), ("", 1), ("ep-2", 11)]


def test_broken_off_conversion_leaves_the_older_episode(make_bag, tmp_path, monkeypatch):
    bag = make_bag("ep", steps=150)
    first = build_dataset([bag], tmp_path / "data")
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()}
    make_bag("ep2", steps=150, seed=1)
    (bag / "metadata.yaml").touch()
    monkeypatch.setattr(
        "diwa.data.shards.EpisodeShards.close",
        lambda self: (_ for _ in ()).throw(KeyboardInterrupt),
    )
    with pytest.raises(KeyboardInterrupt):
        build_dataset([bag], tmp_path / "data")
    after = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()}
    assert after == before
    assert Dataset.open(tmp_path / "data").manifest == first.manifest


def test_compressed_images_are_as_good_as_raw_ones(tmp_path, camera_contract):
    """As the recorder takes them: under their real topic, beside a raw topic that is silent."""
    robot = LockstepRobot(camera_contract, rosbags_factory(camera_contract))
    topic = camera_contract.observations["rgb_static"].topic + "/compressed"
    types = typestore_for({COMPRESSED})
    serialize = serializer(camera_contract, {topic: COMPRESSED})

    def compress(message):
        pixels = message.data.reshape(message.height, message.width, 3)
        data = cv2.imencode(".png", pixels[..., ::-1])[1].reshape(-1)
        made = types.types[COMPRESSED](header=message.header, format="rgb8; png", data=data)
        return topic, made

    pairs = list(robot.run(6))
    small = [compress(m) if key == "rgb_static" else (key, m) for key, m in pairs]
    raw = build_dataset([write_bag(tmp_path / "ep", camera_contract, pairs)], tmp_path / "raw")
    bag = write_bag(tmp_path / "b/ep", camera_contract, small, serialize, {topic: COMPRESSED})
    assert build_dataset([bag], tmp_path / "data").manifest == raw.manifest


def test_memory_does_not_grow_with_the_length_of_a_bag(tmp_path, camera_contract):
    peaks = []
    for steps in (60, 240):
        bag = lockstep_bag(tmp_path / f"ep{steps}", camera_contract, steps)
        tracemalloc.start()
        try:
            build_dataset([bag], tmp_path / f"data{steps}", workers=0)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    shards = sum(path.stat().st_size for path in (tmp_path / "data240/shards").rglob("*.npy"))
    assert peaks[1] < peaks[0] + shards / 10
