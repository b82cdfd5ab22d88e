# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest

from bag_files import write_bag
from diwa.data.build import build_dataset
from diwa.data.convert import BagFrames
from diwa.data.dataset import Dataset
from diwa.data.frames import FrameBuilder
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
