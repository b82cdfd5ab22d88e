# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged and strange bags, each with the error or the remark that it must lead to.

Every case changes a good bag of 30 frames in one way. `ERRORS` end the build with a message that
names the bag; `REMARKS` give a dataset of what is good in the bag, and a report that says it.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from bag_files import lockstep_bag, serializer, topics_by_key, write_bag
from diwa.data.build import build_dataset
from diwa.data.build_report import read_reports
from diwa.errors import ConfigError
from robot_messages import LockstepRobot, rosbags_factory

STEPS = 30
Pairs = list[tuple[str, Any]]


def mcap_of(bag: Path) -> Path:
    (path,) = bag.glob("*.mcap")
    return path


def cut(share: float) -> Callable[[Path], None]:
    def change(bag: Path) -> None:
        path = mcap_of(bag)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return change


def swap_files(bag: Path) -> None:
    mcap_of(bag).write_bytes(b"SQLite format 3\0" + bytes(4000))


def edit_metadata(**changes: Any) -> Callable[[Path], None]:
    def change(bag: Path) -> None:
        path = bag / "metadata.yaml"
        raw = yaml.safe_load(path.read_text())
        raw["rosbag2_bagfile_information"].update(changes)
        path.write_text(yaml.safe_dump(raw))

    return change


def edit_record(**changes: Any) -> Callable[[Path], None]:
    def change(bag: Path) -> None:
        path = bag / "episode.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def latin1_label(bag: Path) -> None:
    path = bag / "episode.json"
    text = path.read_text().replace('"task": ""', '"task": "T\u00fcr"')
    path.write_bytes(text.encode("latin-1"))


FILE_ERRORS: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated file": (cut(0.6), "cannot be read"),
    "file without an end": (cut(0.99), "cannot be read"),
    "empty file": (cut(0), "cannot be read"),
    "file of another format": (swap_files, "cannot be read"),
    "file missing": (lambda bag: mcap_of(bag).unlink(), "cannot be read"),
    "metadata missing": (lambda bag: (bag / "metadata.yaml").unlink(), "cannot be read"),
    "metadata not YAML": (lambda bag: (bag / "metadata.yaml").write_text("{"), "cannot be read"),
    "metadata of a future version": (edit_metadata(version=99), "version"),
    "unknown compression": (
        edit_metadata(compression_format="rot13", compression_mode="file"),
        "cannot be read",
    ),
    "record missing": (lambda bag: (bag / "episode.json").unlink(), "not a recorded episode"),
    "record cut": (lambda bag: (bag / "episode.json").write_text('{"id": "e'), "not valid JSON"),
    "record not UTF-8": (latin1_label, "not valid JSON"),
    "record from a future version": (edit_record(colour="red"), "colour"),
    "record with an outcome that is none": (edit_record(outcome="good"), "outcome"),
    "record with a path as its id": (edit_record(id="../../up"), "id"),
}


@pytest.fixture
def good(tmp_path, lowdim_contract):
    return lockstep_bag(tmp_path / "good", lowdim_contract, STEPS)


@pytest.mark.parametrize("case", FILE_ERRORS)
def test_damaged_files_are_named(case, good, tmp_path):
    change, expected = FILE_ERRORS[case]
    change(good)
    with pytest.raises(ConfigError, match=expected) as caught:
        build_dataset([good], tmp_path / "data", workers=0)
    assert str(good) in str(caught.value)
    assert not list((tmp_path / "data").rglob("*.tmp"))


def pairs_of(contract, seed=0) -> Pairs:
    return list(LockstepRobot(contract, rosbags_factory(contract), seed).run(STEPS))


def of_key(pairs: Pairs, key: str) -> list[Any]:
    return [message for name, message in pairs if name == key]


def other_joints(pairs: Pairs) -> None:
    of_key(pairs, "joint_states")[9].name[2] = "elbow"


def other_frame(pairs: Pairs) -> None:
    of_key(pairs, "ee_pose")[9].header.frame_id = "tool0"


def no_rotation(pairs: Pairs) -> None:
    rotation = of_key(pairs, "ee_pose")[9].pose.orientation
    rotation.x = rotation.y = rotation.z = rotation.w = 0.0


def not_a_number(pairs: Pairs) -> None:
    of_key(pairs, "joint_states")[9].position[:] = np.nan


def infinite_action(pairs: Pairs) -> None:
    of_key(pairs, "action")[9].action[2] = np.inf


MESSAGE_ERRORS: dict[str, tuple[Callable[[Pairs], None], str]] = {
    "joint missing": (other_joints, "joints missing"),
    "pose in another frame": (other_frame, "tool0"),
    "pose without orientation": (no_rotation, "without orientation"),
    "joints not a number": (not_a_number, "proprio is not finite"),
    "action infinite": (infinite_action, "executed action"),
}


@pytest.mark.parametrize("case", MESSAGE_ERRORS)
def test_messages_that_cannot_be_used_are_named(case, tmp_path, lowdim_contract):
    change, expected = MESSAGE_ERRORS[case]
    pairs = pairs_of(lowdim_contract)
    change(pairs)
    bag = write_bag(tmp_path / "bad", lowdim_contract, pairs)
    with pytest.raises(ConfigError, match=expected) as caught:
        build_dataset([bag], tmp_path / "data", workers=0)
    assert str(bag) in str(caught.value)


@pytest.fixture
def recorded_as(tmp_path, lowdim_contract):
    """Writes a bag as another contract has it, with the record of the low-dimensional one."""

    def write(observations: dict[str, dict[str, Any]], messages: Pairs) -> Path:
        raw = lowdim_contract.model_dump()
        for key, changes in observations.items():
            raw["observations"][key].update(changes)
        other = type(lowdim_contract).model_validate(raw)
        bag = write_bag(tmp_path / "other", other, messages, serializer(other))
        facts = json.loads((bag / "episode.json").read_text())
        facts["contract"] = lowdim_contract.model_dump(mode="json")
        (bag / "episode.json").write_text(json.dumps(facts))
        return bag

    return write


def test_topic_of_another_type_is_refused(recorded_as, tmp_path, lowdim_contract):
    made = rosbags_factory(lowdim_contract)("std_msgs/msg/Header", stamp=None, frame_id="")
    bag = recorded_as({"scene_state": {"type": type(made).__msgtype__}}, [])
    with pytest.raises(ConfigError, match="another type than in the contract") as caught:
        build_dataset([bag], tmp_path / "data")
    assert "std_msgs/msg/Header" in str(caught.value)
    assert "diwa_msgs/msg/SceneState" in str(caught.value)


def test_topic_that_was_not_recorded_is_named(recorded_as, tmp_path, lowdim_contract):
    bag = recorded_as({"joint_states": {"topic": "arm/joints"}}, pairs_of(lowdim_contract))
    with pytest.raises(ConfigError, match="no topics joint_states") as caught:
        build_dataset([bag], tmp_path / "data")
    assert str(bag) in str(caught.value)


def test_topic_of_two_robots_is_refused(tmp_path, lowdim_contract):
    kinds = {"left/ee_pose": lowdim_contract.observations["ee_pose"].type}
    pairs = pairs_of(lowdim_contract)
    bag = write_bag(tmp_path / "two", lowdim_contract, pairs, extra_topics=kinds)
    with pytest.raises(ConfigError, match="several topics ee_pose"):
        build_dataset([bag], tmp_path / "data")


def report_on(pairs: Pairs, tmp_path, contract):
    """The report on a bag of these messages, beside a good one."""
    bags = [
        lockstep_bag(tmp_path / "good", contract, STEPS),
        write_bag(tmp_path / "odd", contract, pairs),
    ]
    build_dataset(bags, tmp_path / "data", workers=0)
    return read_reports(tmp_path / "data")["odd"]


def test_swapped_stamps_cost_the_late_message_only(tmp_path, lowdim_contract):
    pairs = pairs_of(lowdim_contract)
    states = of_key(pairs, "scene_state")
    states[7].header, states[8].header = states[8].header, states[7].header
    report = report_on(pairs, tmp_path, lowdim_contract)
    assert report.keys["scene_state"].late == 1
    assert report.remarks == ("1 late on scene_state",)
    assert report.frames == STEPS


def test_topic_of_another_clock_is_named(tmp_path, lowdim_contract):
    pairs = pairs_of(lowdim_contract)
    for message in of_key(pairs, "joint_states"):
        message.header.stamp.sec += 1_700_000_000
    report = report_on(pairs, tmp_path, lowdim_contract)
    assert report.episodes == ()
    (remark,) = report.remarks
    assert "joint_states" in remark
    assert "of other clocks, 1.7e+09 s apart" in remark


def test_stamps_that_were_never_set_are_named(tmp_path, lowdim_contract):
    pairs = pairs_of(lowdim_contract)
    for message in of_key(pairs, "scene_state"):
        message.header.stamp.sec = message.header.stamp.nanosec = 0
    report = report_on(pairs, tmp_path, lowdim_contract)
    assert report.episodes == ()
    assert report.remarks[0] == "the stamps on scene_state never change"


def test_clock_that_was_set_midway_makes_a_cut(tmp_path, lowdim_contract):
    pairs = pairs_of(lowdim_contract)
    for _, message in pairs[len(pairs) // 2 :]:
        message.header.stamp.sec += 3600
    report = report_on(pairs, tmp_path, lowdim_contract)
    assert len(report.episodes) == 2
    assert STEPS - 2 <= report.frames <= STEPS


def test_random_damage_never_ends_in_a_traceback(good, tmp_path):
    """Cuts, changed and erased bytes: a `ConfigError`, or a dataset of no more than was there."""
    path = mcap_of(good)
    data = path.read_bytes()
    rng = random.Random(7)
    outcomes = set()
    for trial in range(60):
        damaged = bytearray(data)
        place = rng.randrange(len(data))
        if trial % 3 == 0:
            damaged = damaged[:place]
        elif trial % 3 == 1:
            for _ in range(rng.choice([1, 20])):
                damaged[rng.randrange(len(data))] = rng.randrange(256)
        else:
            damaged[place : place + 500] = bytes(min(500, len(data) - place))
        path.write_bytes(damaged)
        try:
            with np.errstate(all="ignore"):
                dataset = build_dataset([good], tmp_path / f"{trial}", workers=0)
        except ConfigError:
            outcomes.add("error")
        else:
            outcomes.add("dataset")
            assert sum(info.length for info in dataset.episodes) <= STEPS
    assert outcomes == {"error", "dataset"}


def test_every_case_starts_from_a_bag_that_works(good, tmp_path, lowdim_contract):
    assert build_dataset([good], tmp_path / "data").episodes[0].length == STEPS
    assert set(topics_by_key(lowdim_contract)) == {
        "ee_pose",
        "joint_states",
        "scene_state",
        "action",
    }
