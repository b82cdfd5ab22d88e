# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One fault at a time: the check names it, says what to do, and nothing else is called wrong."""

from __future__ import annotations

import dataclasses
import errno
from collections import namedtuple
from types import SimpleNamespace

import pytest

from diwa.data import disk_check
from diwa.data.contract import Contract
from diwa.data.disk_check import check_disk, expected_byte_rate
from diwa.data.episode_cadence import EpisodeCadence
from diwa.data.robot_check import (
    COMPRESSED,
    Seen,
    check_clocks,
    check_topics,
    wrong,
)
from robot_messages import LockstepRobot

CAMERA = "cameras/static/image_raw"
SECOND = 10**9
DELAY_NS = 4_000_000


def observed(contract, keep=lambda topic, step: True, late_ns=None, still=False, **changes):
    """What is seen of a robot in three seconds; `changes` replace fields of what is seen of CAMERA.

    Args:
        keep: which messages come, by topic and step.
        late_ns: added to the age of stamps, by topic.
        still: the robot repeats its stamp.
    """
    cadence = EpisodeCadence(contract)
    for step in range(90):
        now = 10 * SECOND + step * contract.period_ns
        for topic in cadence.topics:
            if keep(topic, step):
                stamp = 10 * SECOND if still else now
                cadence.push(topic, stamp - DELAY_NS - (late_ns or {}).get(topic, 0), now, 50)
    robot = LockstepRobot(contract)
    streams = {stream.topic: (key, stream) for key, stream in contract.observations.items()}
    seen = {}
    for record in cadence.records():
        key, stream = streams.get(record.topic, ("", None))
        seen[record.topic] = Seen(
            source=record.topic,
            types=(stream.type if stream else contract.action.type,),
            publishers=("/driver",),
            best_effort=False,
            similar=(),
            record=record,
            sample=robot.observation(key, 30) if stream else robot.action(30),
        )
    seen[CAMERA] = dataclasses.replace(seen[CAMERA], **changes)
    return seen


def rows_of(contract, simulated=False, **options):
    seen = observed(contract, **options)
    return [*check_topics(contract, seen), *check_clocks(seen, simulated)]


def image(contract, **changes):
    message = LockstepRobot(contract).observation("rgb_static", 30)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_robot_as_in_the_contract_is_ready(camera_contract):
    rows = rows_of(camera_contract)
    assert [row.level for row in rows] == ["ok"] * 7
    assert rows[-1].found == "stamps are 4 ms old when they come in"
    assert {row.subject for row in rows[:-1]} == set(observed(camera_contract))


FAULTS = {
    "nobody": ({"publishers": (), "similar": ("/camera/image",)}, "did you mean /camera/image"),
    "type": ({"types": ("sensor_msgs/msg/PointCloud2",)}, "type sensor_msgs/msg/PointCloud2"),
    "two publishers": ({"publishers": ("/driver", "/player")}, "/driver and /player"),
    "silent": ({"keep": lambda topic, step: topic != CAMERA}, "nothing comes from /driver"),
    "slow": (
        {"keep": lambda topic, step: topic != CAMERA or step % 2},
        "15 of 30 Hz",
    ),
    "gap": (
        {"keep": lambda topic, step: topic != CAMERA or not 30 <= step < 40},
        "a gap of 0.37 s",
    ),
    "other clock": ({"late_ns": {CAMERA: 3 * SECOND}}, "3.0 s behind the others'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_of_a_camera_is_named_with_what_to_do(camera_contract, name):
    options, says = FAULTS[name]
    found = wrong(rows_of(camera_contract, **options))
    assert found
    assert {row.subject for row in found} == {CAMERA}
    assert any(says in f"{row.found} {row.todo}" for row in found)
    assert all(row.todo for row in found)


CONTENTS = {
    "encoding": ({"encoding": "bgr8"}, "bgr8 200x200"),
    "size": ({"height": 480}, "rgb8 480x200"),
    "frame": ({"header": SimpleNamespace(frame_id="map", stamp=SimpleNamespace(sec=1))}, "map"),
    "stamp": ({}, "stamp is 0"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_content_of_an_image_is_compared_with_the_contract(camera_contract, name):
    changes, says = CONTENTS[name]
    sample = image(camera_contract, **changes)
    sample.header.stamp.nanosec = 0
    if name == "stamp":
        sample.header.stamp.sec = 0
    still = name == "stamp"  # every message of a driver that does not stamp is the same
    (row,) = wrong(rows_of(camera_contract, sample=sample, still=still))
    assert row.subject == CAMERA
    assert says in row.found
    assert row.todo


def test_missing_joint_is_named(camera_contract):
    seen = observed(camera_contract)
    sample = SimpleNamespace(**vars(seen["joint_states"].sample))
    sample.name = sample.name[1:]
    seen["joint_states"] = dataclasses.replace(seen["joint_states"], sample=sample)
    (row,) = wrong(check_topics(camera_contract, seen))
    assert row.subject == "joint_states"
    assert "panda_finger_joint2" in row.todo


def test_compressed_image_stands_in_for_an_image(camera_contract):
    rows = rows_of(camera_contract, types=(COMPRESSED,), source=f"{CAMERA}/compressed", sample=None)
    assert not wrong(rows)


def test_publisher_of_best_effort_is_pointed_out_and_not_wrong(camera_contract):
    rows = rows_of(camera_contract, best_effort=True)
    assert [row.subject for row in rows if row.level == "unsure"] == [CAMERA]
    assert not wrong(rows)


def test_arm_that_nobody_moves_is_not_wrong(camera_contract):
    rows = rows_of(camera_contract, keep=lambda topic, step: topic != "executed_action")
    assert not wrong(rows)
    assert "move the arm" in next(row.todo for row in rows if row.level == "unsure")


def test_simulation_that_waits_for_actions_stands_still(camera_contract):
    rows = rows_of(camera_contract, still=True, simulated=True)
    assert not wrong(rows)
    assert {row.found for row in rows if row.level == "unsure"} == {
        "stands still: the same stamp again"
    }


def test_clock_that_all_topics_share_may_be_another_machines(camera_contract):
    late = dict.fromkeys(observed(camera_contract), 100 * SECOND)
    rows = rows_of(camera_contract, late_ns=late)
    assert not wrong(rows)
    assert "100.0 s behind" in rows[-1].found
    assert rows_of(camera_contract, late_ns=late, simulated=True)[-1].found == "simulation time"


def test_silence_of_everything_is_one_row(camera_contract):
    seen = {
        topic: dataclasses.replace(item, publishers=())
        for topic, item in observed(camera_contract).items()
    }
    (row,) = check_topics(camera_contract, seen)
    assert "none of the contract's 6 topics" in row.found


def test_faster_topic_than_the_contract_says_is_pointed_out(camera_contract):
    plain = camera_contract.model_dump()
    plain["observations"]["rgb_static"]["rate_hz"] = 10.0
    contract = Contract.model_validate(plain)
    (row,) = [row for row in rows_of(contract) if row.level != "ok"]
    assert (row.subject, row.level) == (CAMERA, "unsure")
    assert "rate_hz" in row.todo


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("seconds", "level"), [(300, "wrong"), (1800, "unsure"), (36000, "ok")])
def test_room_on_the_disk_is_measured_in_time(
    camera_contract, tmp_path, monkeypatch, seconds, level
):
    free = int(expected_byte_rate(camera_contract) * seconds)
    monkeypatch.setattr(disk_check.shutil, "disk_usage", lambda path: Usage(10**12, 0, free))
    monkeypatch.setattr(disk_check, "write_speed", lambda folder, size: 1e9)
    rows = check_disk(camera_contract, tmp_path / "not" / "there")
    assert [row.level for row in rows] == [level, "ok"]
    assert rows[0].found.startswith(f"room for {seconds / 3600:.1f} h at 4.3 MB/s")
    reserved = check_disk(camera_contract, tmp_path, min_free_bytes=free)
    assert [row.level for row in reserved] == ["wrong"]


def test_slow_disk_is_wrong(camera_contract, tmp_path, monkeypatch):
    monkeypatch.setattr(disk_check, "write_speed", lambda folder, size: 5e6)
    (row,) = wrong(check_disk(camera_contract, tmp_path))
    assert row.found == "writes 5 MB/s"
    assert "faster disk" in row.todo


def test_disk_that_cannot_be_written_is_wrong(camera_contract, tmp_path, monkeypatch):
    def refuse(folder, size):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(disk_check, "write_speed", refuse)
    (row,) = wrong(check_disk(camera_contract, tmp_path))
    assert "Read-only" in row.found
    assert str(tmp_path) in row.todo


def test_trial_of_the_disk_leaves_nothing_behind(camera_contract, tmp_path):
    rows = check_disk(camera_contract, tmp_path, trial_bytes=1_000_000)
    assert any(row.found.startswith("writes") for row in rows)
    assert not list(tmp_path.iterdir())
