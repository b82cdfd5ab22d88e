# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset import` and `export`, as typed."""

import json

import numpy as np
import pytest

from bag_files import lockstep_bag
from calvin_files import write_calvin
from diwa.cli import main
from diwa.data.dataset import Dataset
from diwa.data.lerobot_loss import peak_ratios
from learning_fixtures import ROOT

LOWDIM = str(ROOT / "config/contracts/panda_calvin_lowdim.yaml")


def dataset_command(*words) -> int:
    return main(["dataset", *map(str, words)])


@pytest.fixture(scope="module")
def calvin(tmp_path_factory):
    return write_calvin(tmp_path_factory.mktemp("calvin"))


def test_bags_go_to_lerobot_and_back(tmp_path, camera_contract, capsys):
    lockstep_bag(tmp_path / "bags/play_0001", camera_contract, 30)
    demo = {"kind": "demo", "task": "open_drawer", "outcome": "success"}
    lockstep_bag(tmp_path / "bags/demo_0002", camera_contract, 25, seed=1, **demo)
    data, back, lerobot = (tmp_path / name for name in ("data", "back", "lerobot"))
    assert dataset_command("build", tmp_path / "bags", "--out", data, "--workers", 0) == 0
    assert dataset_command("export", data, "--out", lerobot, "--progress", "none") == 0
    assert "dB PSNR" in capsys.readouterr().out
    assert dataset_command("import", lerobot, "--out", back, "--progress", "none") == 0
    first, second = Dataset.open(data), Dataset.open(back)
    stated = json.loads((lerobot / "meta/diwa.json").read_text())["images"]
    for one, two in zip(first.episodes, second.episodes, strict=True):
        for label in ("id", "kind", "task", "outcome", "length", "source"):
            assert getattr(one, label) == getattr(two, label)
        for key in ("action", "proprio", "scene_state", "stamp_ns"):
            np.testing.assert_array_equal(first.array(one.id, key), second.array(one.id, key))
        for key in camera_contract.image_keys:
            ratios = peak_ratios(first.array(one.id, key), second.array(one.id, key))
            assert ratios.min() >= stated[key]["worst_psnr_db"] - 1e-3


def test_calvin_is_imported_with_what_was_asked_for(calvin, tmp_path, capsys):
    words = ("import", calvin, "--out", tmp_path / "data", "--contract", LOWDIM)
    assert dataset_command(*words, "--subset", 50, "--tasks", "open_drawer", "--demos", 1) == 0
    text = capsys.readouterr().out
    assert "50 frames" in text
    assert "open_drawer 1" in text
    assert "statistics" not in text
    assert dataset_command(*words) == 0
    text = capsys.readouterr().out
    assert "102 frames" in text
    assert "open_drawer 3, turn_on_led 1" in text
    assert "they agree" in text
    assert main(["info", str(tmp_path / "data")]) == 0


def test_progress_as_json_is_all_there_is_on_stdout(calvin, tmp_path, capsys):
    words = ("import", calvin, "--out", tmp_path / "data", "--contract", LOWDIM)
    assert dataset_command(*words, "--progress", "json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["done"] == lines[-1]["total"] == 102 + 3 * 16 + 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("import", "nowhere", "--out", "x"), "no such folder"),
        (("import", ".", "--out", "x"), "diwa dataset build"),
        (("import", "CALVIN", "--out", "x"), "--contract config/contracts/panda_calvin.yaml"),
        (("import", "CALVIN", "--out", "x", "--contract", LOWDIM, "--split", "test"), "no split"),
        (("export", "nowhere", "--out", "x"), "not a finished dataset"),
    ],
)
def test_mistakes_say_what_to_do(calvin, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    if "--split" in words:
        calvin = tmp_path
        (tmp_path / "training").mkdir()
        (tmp_path / "training/ep_start_end_ids.npy").touch()
    words = [str(calvin) if word == "CALVIN" else word for word in words]
    assert dataset_command(*words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_feature_without_a_name_is_refused(tmp_path, camera_contract, capsys):
    (tmp_path / "set/meta").mkdir(parents=True)
    (tmp_path / "set/meta/info.json").write_text("{}")
    words = ("import", tmp_path / "set", "--out", tmp_path / "x", "--feature")
    assert dataset_command(*words, "rgb_static") == 2
    assert "KEY=NAME" in capsys.readouterr().err
    assert dataset_command(*words, "a=b") == 2
    assert "another version" in capsys.readouterr().err
