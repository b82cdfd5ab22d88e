# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""CALVIN's npz layout becomes the same episodes, whatever is interrupted, missing or odd."""

import io
import os
import pickle
import shutil

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from calvin_files import ANNOTATIONS, INTERVALS, calvin_frame, write_calvin
from diwa.data import calvin as calvin_module
from diwa.data.calvin import import_calvin
from diwa.data.dataset import Dataset
from diwa.data.object_arrays import read_object
from diwa.errors import ConfigError


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_calvin(tmp_path_factory.mktemp("calvin"))


@pytest.fixture
def copy(source, tmp_path):
    return shutil.copytree(source, tmp_path / "copy")


@pytest.fixture(scope="module")
def imported(source, tmp_path_factory, camera_contract):
    out = tmp_path_factory.mktemp("data") / "calvin"
    return import_calvin(source, out, camera_contract, piece=25)


def expected_proprio(index):
    robot = calvin_frame(index)["robot_obs"]
    matrix = Rotation.from_euler("xyz", robot[3:6]).as_matrix()
    return np.concatenate(
        [robot[:3], matrix[:, 0], matrix[:, 1], robot[6:7], robot[7:14], robot[14:]]
    )


def test_frames_are_calvins_in_our_units(imported):
    dataset = imported.dataset
    indices = np.arange(358, 383)
    name = "calvin_training_0000358_0000382"
    frames = [calvin_frame(index) for index in indices]
    np.testing.assert_allclose(
        dataset.array(name, "proprio"), [expected_proprio(i) for i in indices], atol=1e-6
    )
    relative = np.array([frame["rel_actions"] for frame in frames], np.float32)
    np.testing.assert_array_equal(dataset.array(name, "action")[:-1], relative[:-1])
    scenes = np.array([frame["scene_obs"] for frame in frames], np.float32)
    np.testing.assert_array_equal(dataset.array(name, "scene_state"), scenes)
    for key in ("rgb_static", "rgb_gripper"):
        small = [cv2.resize(f[key], (64, 64), interpolation=cv2.INTER_AREA) for f in frames]
        np.testing.assert_array_equal(dataset.array(name, key), small)
    seconds = dataset.array(name, "stamp_ns") / 1e9
    np.testing.assert_allclose(seconds, indices / 30.0, atol=1e-9)


def test_play_loses_no_transition_between_pieces(imported):
    dataset = imported.dataset
    seen = []
    for info in dataset.episodes:
        if info.kind == "play":
            first, last = (int(part) for part in info.id.split("_")[-2:])
            assert info.length == last - first + 1 <= 25
            seen += [(index, index + 1) for index in range(first, last)]
    wanted = [(i, i + 1) for first, last in INTERVALS for i in range(first, last)]
    assert sorted(seen) == wanted


def test_demonstrations_are_the_annotations(imported):
    demos = [info for info in imported.dataset.episodes if info.kind == "demo"]
    found = {(d.task, *(int(p) for p in d.id.split("_")[-2:])) for d in demos}
    assert found == set(ANNOTATIONS)
    assert {demo.outcome for demo in demos} == {"success"}
    assert imported.demonstrations == {"open_drawer": 3, "turn_on_led": 1}


def test_published_statistics_agree(imported):
    assert imported.off_by is not None
    assert imported.off_by < 0.05  # border frames count twice


def test_other_statistics_are_noticed(copy, tmp_path, lowdim_contract):
    path = copy / "training/statistics.yaml"
    path.write_text(path.read_text().replace("- 0.5", "- 0.9", 1))
    other = import_calvin(copy, tmp_path / "data", lowdim_contract)
    assert other.off_by > 1.0


def test_broken_off_import_goes_on_without_reading_again(
    source, tmp_path, lowdim_contract, monkeypatch
):
    read = calvin_module.read_frame
    seen = []

    def failing(path, keys):
        seen.append(path)
        if len(seen) == 60:
            raise KeyboardInterrupt
        return read(path, keys)

    monkeypatch.setattr(calvin_module, "read_frame", failing)
    with pytest.raises(KeyboardInterrupt):
        import_calvin(source, tmp_path / "data", lowdim_contract, piece=25, workers=1)
    before = len(seen)
    again = import_calvin(source, tmp_path / "data", lowdim_contract, piece=25, workers=1)
    read_again = len(seen) - before
    whole = import_calvin(source, tmp_path / "whole", lowdim_contract, piece=25)
    assert again.dataset.hash == whole.dataset.hash
    assert read_again < sum(info.length for info in whole.dataset.episodes) - 40


def test_other_settings_do_not_mix(source, tmp_path, lowdim_contract, camera_contract):
    import_calvin(source, tmp_path / "data", lowdim_contract, subset=30)
    with pytest.raises(ConfigError, match="other settings"):
        import_calvin(source, tmp_path / "data", lowdim_contract, piece=20)
    with pytest.raises(ConfigError, match="another contract"):
        import_calvin(source, tmp_path / "data", camera_contract)


def test_subset_and_choice_of_demonstrations(source, tmp_path, lowdim_contract):
    small = import_calvin(
        source, tmp_path / "data", lowdim_contract, subset=70, tasks=["open_drawer"], demos=2
    )
    assert small.play_frames == 70
    assert small.demonstrations == {"open_drawer": 2}
    assert small.off_by is None
    ids = {info.id for info in small.dataset.episodes}
    assert ids == {
        "calvin_training_0000358_0000417",
        "calvin_training_0000900_0000909",
        "calvin_training_open_drawer_0000360_0000375",
        "calvin_training_open_drawer_0000905_0000920",
    }
    more = import_calvin(source, tmp_path / "data", lowdim_contract)
    assert {info.id for info in more.dataset.episodes} > ids


def test_unknown_skill_is_refused(source, tmp_path, lowdim_contract):
    with pytest.raises(ConfigError, match=r"no demonstrations of fly(.|\n)*turn_on_led"):
        import_calvin(source, tmp_path / "data", lowdim_contract, tasks=["fly"])


def test_contract_of_another_rate_is_refused(source, tmp_path, lowdim_contract):
    other = lowdim_contract.model_copy(update={"rate_hz": 20.0})
    with pytest.raises(ConfigError, match=r"20\.0 Hz"):
        import_calvin(source, tmp_path / "data", other)


def damage(path, how):
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-2000])
    elif how == "text":
        path.write_text("not a zip file")
    elif how == "arrays":
        np.savez(path, robot_obs=np.zeros(15))
    elif how == "size":
        np.savez(path, **{**calvin_frame(0), "robot_obs": np.zeros(14)})
    elif how == "range":
        np.savez(path, **{**calvin_frame(0), "rel_actions": np.full(7, 50.0)})
    elif how == "nan":
        np.savez(path, **{**calvin_frame(0), "robot_obs": np.full(15, np.nan)})


@pytest.mark.parametrize("how", ["missing", "cut", "text", "arrays", "size", "range"])
def test_damaged_frame_is_named(copy, tmp_path, lowdim_contract, how):
    damage(copy / "training/episode_0000364.npz", how)
    with pytest.raises(ConfigError, match=r"episode_0000364\.npz"):
        import_calvin(copy, tmp_path / "data", lowdim_contract)


def test_values_that_are_no_numbers_are_refused(copy, tmp_path, lowdim_contract):
    damage(copy / "training/episode_0000364.npz", "nan")
    with pytest.raises(ConfigError, match=r"0000358_0000417.*not finite"):
        import_calvin(copy, tmp_path / "data", lowdim_contract)


@pytest.mark.parametrize("rows", [np.zeros((0, 2), int), np.array([[5, 3]]), np.array([1.0, 2.0])])
def test_senseless_intervals_are_refused(copy, tmp_path, lowdim_contract, rows):
    np.save(copy / "training/ep_start_end_ids.npy", rows)
    with pytest.raises(ConfigError, match="ep_start_end_ids"):
        import_calvin(copy, tmp_path / "data", lowdim_contract)


def test_split_without_annotations_gives_play(copy, tmp_path, lowdim_contract):
    shutil.rmtree(copy / "training/lang_annotations")
    result = import_calvin(copy / "training", tmp_path / "data", lowdim_contract)
    assert result.demonstrations == {}
    assert {info.kind for info in Dataset.open(tmp_path / "data").episodes} == {"play"}


def save_program(path, program):
    """A `.npy` file with an object array whose content is `program`."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "|O", "fortran_order": False, "shape": ()}
    )
    path.write_bytes(stream.getvalue() + program)


class Intruder:
    def __reduce__(self):
        return os.mkdir, (os.environ["INTRUDER"],)


def test_code_in_annotations_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setenv("INTRUDER", str(tmp_path / "was_here"))
    path = tmp_path / "bad.npy"
    for protocol in (2, 3, 4):
        for content in (Intruder(), {"language": [Intruder()]}):
            save_program(path, pickle.dumps(content, protocol=protocol))
            with pytest.raises(ConfigError, match=r"plain data(.|\n)*mkdir"):
                read_object(path)
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_plain_objects_are_read_whatever_the_version(tmp_path, protocol):
    content = {
        "text": ["a", "b", "é"],
        "spans": [(1, 2), (np.int64(3), 70000), (-1, 2**40)],
        "array": np.arange(12, dtype=np.float32).reshape(3, 4),
        "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "nothing": [None, True, False, 1.5],
        "bytes": b"\x00\xff",
    }
    save_program(tmp_path / "good.npy", pickle.dumps(content, protocol=protocol))
    read = read_object(tmp_path / "good.npy")
    for key in ("array", "columns"):
        np.testing.assert_array_equal(read.pop(key), content.pop(key))
    assert read == content


@pytest.mark.parametrize("cut", [0, 5, 90, 200])
def test_broken_off_objects_are_refused(source, tmp_path, cut):
    whole = (source / "training/lang_annotations/auto_lang_ann.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:cut])
    with pytest.raises(ConfigError, match=r"cut\.npy"):
        read_object(tmp_path / "cut.npy")
