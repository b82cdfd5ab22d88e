# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset info | doctor | repair | label | merge | split` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diwa.cli import main
from diwa.data.bags import BagWriter, contract_topics
from diwa.data.contract import Contract
from diwa.data.dataset import Dataset
from diwa.data.episode import EpisodeRecord, find_bags, read_episode
from diwa.data.message_types import typestore_for
from made_up_robot import robot_dataset
from robot_messages import LockstepRobot, rosbags_factory


@pytest.fixture
def data(tmp_path: Path, lowdim_contract: Contract) -> Path:
    return robot_dataset(tmp_path / "data", lowdim_contract).path


@pytest.fixture
def dataset_command(capsys: pytest.CaptureFixture[str]):
    """Runs `diwa dataset ...`; returns exit code, stdout and stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main(["dataset", *map(str, words)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_doctor_and_repair_go_hand_in_hand(data, dataset_command):
    code, text, _ = dataset_command("doctor", data)
    assert (code, text) == (0, f"{data}: 5 episodes examined, nothing wrong\n")
    manifest = data / "manifest.json"
    manifest.write_text(manifest.read_text().replace("open_drawer", "close_drawer", 1))
    code, text, _ = dataset_command("doctor", data)
    assert code == 1
    assert "ERROR    table demo_0000" in text
    assert "next      `diwa dataset repair" in text
    code, text, _ = dataset_command("doctor", data, "--json")
    assert code == 1
    found = json.loads(text)
    assert found["episodes"] == 5
    assert {"check", "severity", "file", "what", "expected", "advice"} <= set(found["findings"][0])
    code, text, _ = dataset_command("repair", data)
    assert code == 0
    assert text.startswith("mended: wrote manifest.json")
    assert dataset_command("repair", data)[1].startswith("nothing to mend")


def test_doctor_fix_mends_and_looks_again(data, dataset_command):
    (data / "episodes" / "demo_0001.json").unlink()
    code, text, _ = dataset_command("doctor", data, "--fix")
    assert code == 0
    assert "made the record of demo_0001 anew" in text
    (data / "shards" / "action" / "demo_0001.npy").unlink()
    assert dataset_command("doctor", data, "--fix", "--json")[0] == 1
    code, text, _ = dataset_command("repair", data, "--leave-out")
    assert code == 0
    assert "left out demo_0001" in text
    assert dataset_command("label", data, "--undo")[0] == 0
    assert dataset_command("doctor", data, "--quick")[0] == 1


def test_doctor_compares_with_a_given_contract(data, dataset_command, root):
    contracts = root / "config" / "contracts"
    assert dataset_command("doctor", data, "--contract", contracts / "panda_calvin.yaml")[0] == 1
    same = contracts / "panda_calvin_lowdim.yaml"
    assert dataset_command("doctor", data, "--fix", "--contract", same)[0] == 0


def test_labels_are_given_listed_and_taken_back(data, dataset_command):
    code, text, _ = dataset_command("label", data, "demo_*", "--outcome", "failure")
    assert (code, text) == (0, f"{data}: changed 3 of 3 episodes\n")
    words = ("label", data, "--task", "open_drawer", "play_0000", "--reason", "a fine one")
    assert dataset_command(*words)[0] == 0
    assert dataset_command("label", data, "play_0001", "--delete")[0] == 0
    rows = {info.id: info for info in Dataset.open(data).manifest.episodes}
    assert rows["play_0000"].kind == "demo"
    assert rows["play_0001"].deleted
    assert "play_0001  play  -" in dataset_command("info", data, "--episodes")[1]
    assert "task '' -> 'open_drawer'" in dataset_command("info", data, "--edits")[1]
    assert "a fine one" in dataset_command("info", data, "--edits")[1]
    facts = json.loads(dataset_command("info", data, "--json")[1])
    assert [edit["episode"] for edit in facts["edits"]][-1] == "play_0001"
    assert dataset_command("label", data, "play_0001", "--restore")[0] == 0
    for _ in range(4):
        assert dataset_command("label", data, "--undo")[0] == 0
    code, _, errors = dataset_command("label", data, "--undo")
    assert code == 2
    assert "no edit to take back" in errors
    kinds = {info.id: info.kind for info in Dataset.open(data).manifest.episodes}
    assert kinds["play_0000"] == "play"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("demo_0000",), "what is to be done"),
        (("--undo", "--task", "x"), "what is to be done"),
        (("--undo", "demo_0000"), "the last edit is undone"),
        (("--outcome", "success"), "which episodes"),
        (("nine", "--delete"), "no episode 'nine'"),
        (("demo_0000", "--delete", "--reason", "\udcff"), "reason"),
        (("demo_0000", "--note", "x"), "datasets keep no notes"),
        (("*", "--delete"), "no episode would be left"),
    ],
)
def test_a_label_that_makes_no_sense_is_refused(data, dataset_command, words, message):
    code, _, errors = dataset_command("label", data, *words)
    assert code == 2
    assert message in errors


def test_split_and_merge_from_the_command_line(data, dataset_command, tmp_path):
    parts = tmp_path / "parts"
    code, text, _ = dataset_command("split", data, "--by", "kind", "--out", parts)
    assert code == 0
    assert f"{parts / 'demo'}: 3 episodes, 194 frames" in text
    out = tmp_path / "merged"
    assert dataset_command("merge", parts / "demo", parts / "play", "--out", out)[0] == 0
    assert Dataset.open(out).hash == Dataset.open(data).hash
    shares = ("train=0.6", "test=0.4", "--seed", "1", "--out", tmp_path / "shares")
    assert dataset_command("split", data, *shares)[0] == 0
    named = ("a=play_0000,demo_0000", "b=demo_0001", "--out", tmp_path / "named")
    assert dataset_command("split", data, *named)[0] == 0
    assert [i.id for i in Dataset.open(tmp_path / "named/a").episodes] == ["demo_0000", "play_0000"]
    code, _, errors = dataset_command("merge", data, tmp_path, "--out", tmp_path / "no")
    assert code == 2
    assert "not a finished dataset" in errors


@pytest.mark.parametrize(
    "words", [(), ("--by", "kind", "a=1.0"), ("a",), ("a=1", "a=2"), ("../a=1",), ("a=0.5",)]
)
def test_parts_that_make_no_sense_are_refused(data, dataset_command, tmp_path, words):
    assert dataset_command("split", data, *words, "--out", tmp_path / "x")[0] == 2
    assert not (tmp_path / "x").exists()


def write_bag(path: Path, contract: Contract, finished: bool = True) -> None:
    kinds = contract_topics(contract)
    types = typestore_for(set(kinds.values()))
    names = {key: stream.topic for key, stream in contract.observations.items()}
    names["action"] = contract.action.topic
    record = EpisodeRecord(id=path.name, kind="play", contract=contract)
    writer = BagWriter(path, contract, backend="rosbags", opening=None if finished else record)
    robot = LockstepRobot(contract, rosbags_factory(contract), 0)
    for index, (key, message) in enumerate(robot.run(12)):
        data = bytes(types.serialize_cdr(message, kinds[names[key]]))
        writer.write(names[key], 10**9 + index, data)
    if finished:
        writer.close(record)
    else:
        writer.close()


def test_bags_are_labelled_and_thrown_away_reversibly(tmp_path, lowdim_contract, dataset_command):
    bags = tmp_path / "bags"
    names = [f"play_{i:04d}_20261122T115704Z" for i in range(3)]
    for name in names:
        write_bag(bags / name, lowdim_contract)
    words = ("label", bags, "play_0001*", "--task", "turn_on_led", "--outcome", "success")
    code, text, _ = dataset_command(*words, "--note", "slow")
    assert (code, text) == (0, f"{names[1]}: demo, turn_on_led, success\n")
    record = read_episode(bags / names[1])
    assert (record.kind, record.note, len(record.history)) == ("demo", "slow", 1)
    assert dataset_command("label", bags / names[1], "--undo")[0] == 0
    assert read_episode(bags / names[1]).task == ""
    assert dataset_command("label", bags, names[0], "--delete", "--reason", "bump")[0] == 0
    assert [bag.name for bag in find_bags(bags)] == names[1:]
    assert dataset_command("label", bags, names[0], "--restore")[0] == 0
    assert [bag.name for bag in find_bags(bags)] == names
    assert names[0] in dataset_command("info", bags, "--episodes")[1]
    facts = json.loads(dataset_command("info", bags, "--json")[1])
    assert len(facts["bags"]) == 3
    assert dataset_command("label", bags, "--outcome", "success")[0] == 2
    assert dataset_command("label", bags, "nine", "--delete")[0] == 2
    assert dataset_command("label", bags / names[0], "x", "--delete")[0] == 2
    for option in ("--task", "--note"):
        code, _, errors = dataset_command("label", bags, names[0], option, "\udcff")
        assert code == 2
        assert option[2:] in errors


def test_recordings_that_were_broken_off_are_finished(tmp_path, lowdim_contract, dataset_command):
    bags = tmp_path / "bags"
    write_bag(bags / "play_0000_20261122T115704Z", lowdim_contract)
    code, text, _ = dataset_command("repair", bags)
    assert (code, text) == (0, f"{bags}: no recording was broken off\n")
    assert dataset_command("doctor", bags)[0] == 2
    write_bag(bags / "play_0001_20261122T115804Z", lowdim_contract, finished=False)
    assert "1 recordings were broken off" in dataset_command("info", bags)[1]
    assert "broken off" in dataset_command("info", bags / "play_0001_20261122T115804Z")[1]
    code, text, _ = dataset_command("repair", bags)
    assert code == 0
    assert "play_0001_20261122T115804Z" in text
    assert "recovered: its end is missing" in dataset_command("info", bags)[1]
    assert read_episode(bags / "play_0001_20261122T115804Z").recovered
    write_bag(bags / "play_0002_20261122T115904Z", lowdim_contract, finished=False)
    for path in (bags / "play_0002_20261122T115904Z").glob("unfinished.json"):
        path.write_text("{")
    code, text, _ = dataset_command("repair", bags)
    assert code == 1
    assert "not valid JSON" in text


@pytest.mark.parametrize("command", ["doctor", "repair", "info"])
def test_a_folder_of_nothing_is_a_mistake_or_wrong(tmp_path, dataset_command, command):
    assert dataset_command(command, tmp_path / "nothing")[0] == 2
    (tmp_path / "empty").mkdir()
    assert dataset_command(command, tmp_path / "empty")[0] in (1, 2)
