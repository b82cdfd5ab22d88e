# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Every check finds its fault, alone, and nothing in data that is right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from diwa.data.alignment import KeyAlignment
from diwa.data.build_report import write_report
from diwa.data.combine import merge_datasets
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.doctor import examine
from diwa.data.frames import compose_observation
from diwa.errors import ConfigError
from diwa.sim.play import PlayGenerator
from diwa.sim.play_table import PlayTableConfig, PlayTableEnv
from diwa.sim.skills import ScriptedSkill, SkillStyle
from made_up_robot import EPISODES, Arrays, Change, build_report, episode, rewrite, robot_dataset

BAD = "play_0001"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory, camera_contract) -> Dataset:
    return robot_dataset(tmp_path_factory.mktemp("healthy") / "data", camera_contract)


def only(name: str, change: Callable[[Arrays], object]) -> Change:
    """A change of one episode."""

    def apply(episode_id: str, arrays: Arrays) -> None:
        if episode_id == name:
            change(arrays)

    return apply


def findings(path, **options):
    """(check, severity, episode) of everything that is found."""
    found = examine(path, **options).findings
    return {(item.check, item.severity, item.episode) for item in found}


def test_a_healthy_dataset_has_no_findings(healthy):
    diagnosis = examine(healthy.path)
    assert diagnosis.findings == ()
    assert diagnosis.healthy
    assert diagnosis.episodes == len(EPISODES)
    assert "nothing wrong" in diagnosis.as_text()


def test_an_examination_changes_nothing(healthy):
    def state():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    files = sorted(healthy.path.rglob("*"))
    before = state()
    examine(healthy.path)
    assert sorted(healthy.path.rglob("*")) == files
    assert state() == before


def test_several_faults_of_one_episode_are_all_found(tmp_path, camera_contract):
    def spoil(arrays):
        for fault in (freeze, late_gripper, degrees, gap):
            fault(arrays)

    path = robot_dataset(tmp_path, camera_contract, only(BAD, spoil)).path
    found = {check for check, _, _ in findings(path)}
    assert found == {"frozen-camera", "misaligned", "values", "rate"}


def test_a_healthy_dataset_without_cameras_has_no_findings(tmp_path, lowdim_contract):
    assert examine(robot_dataset(tmp_path, lowdim_contract).path).findings == ()


def test_an_arm_that_lags_behind_its_actions_is_healthy(tmp_path, lowdim_contract):
    def lag(name, arrays):
        arrays["action"][:-6, :3] = arrays["action"][5:-1, :3]

    assert examine(robot_dataset(tmp_path, lowdim_contract, lag).path).findings == ()


@pytest.fixture(scope="module")
def played(tmp_path_factory, camera_contract) -> Dataset:
    """Real play and demonstrations on the simulated table."""
    env = PlayTableEnv(PlayTableConfig(cameras=True))
    writer = DatasetWriter(tmp_path_factory.mktemp("played"), camera_contract)
    try:
        for index, (task, steps) in enumerate([("", 120), ("open_drawer", 80), ("", 60)]):
            rng = np.random.default_rng(index)
            script = ScriptedSkill(task, SkillStyle(), rng) if task else PlayGenerator(rng)
            arrays = record(env, script, camera_contract, task, steps, index)
            labels = ("demo", task, "success") if task else ("play", "", "unknown")
            writer.add_episode(f"e{index}", *labels, arrays)
    finally:
        env.close()
    return writer.finish()


def record(env, script, contract, task, steps, seed) -> Arrays:
    """Frames and actions of a script, as the bridge and the recorder would have them."""
    state, _ = env.reset(seed=seed, options={"task": task} if task else None)
    action = np.array(contract.action.neutral, dtype=np.float32)
    frames, actions = [], []
    for _ in range(steps):
        raw = {"ee_pose": env.tcp_pose, "joint_states": env.joint_positions, **state}
        raw["scene_state"] = state["scene_obs"]
        frames.append(compose_observation(contract, raw, action))
        action = np.clip(script.act(state["robot_obs"], state["scene_obs"]), -1, 1)
        state, _, solved, *_ = env.step(action)
        actions.append(np.asarray(action, dtype=np.float32))
        if solved:
            break
    arrays = {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}
    return {**arrays, "action": np.stack(actions[:-1])}


def test_no_false_alarm_on_the_play_table(played):
    assert examine(played.path).findings == ()


def freeze(arrays: Arrays) -> None:
    arrays["rgb_static"][60:120] = arrays["rgb_static"][60]


def repeat(arrays: Arrays) -> None:
    arrays["rgb_gripper"][1::2] = arrays["rgb_gripper"][:-1:2]


def blank(arrays: Arrays) -> None:
    arrays["rgb_static"][40:44] = 0


def exchange_neighbours(arrays: Arrays) -> None:
    images = arrays["rgb_gripper"]
    for frame in range(20, 140, 20):
        images[[frame, frame + 1]] = images[[frame + 1, frame]]


def exchange_cameras(arrays: Arrays) -> None:
    static, gripper = arrays["rgb_static"][60:].copy(), arrays["rgb_gripper"][60:].copy()
    arrays["rgb_static"][60:], arrays["rgb_gripper"][60:] = gripper, static


def one_camera_twice(arrays: Arrays) -> None:
    arrays["rgb_gripper"] = arrays["rgb_static"].copy()


def loop(arrays: Arrays) -> None:
    arrays["rgb_static"][90:150] = arrays["rgb_static"][0:60]


def late_actions(arrays: Arrays) -> None:
    arrays["action"][4:-1, :3] = arrays["action"][:-5, :3]


def late_gripper(arrays: Arrays) -> None:
    arrays["action"][2:-1, 6] = arrays["action"][:-3, 6]


def slow(arrays: Arrays) -> None:
    arrays["stamp_ns"] = (arrays["stamp_ns"] * 1.1).astype(np.int64)


def drift(arrays: Arrays) -> None:
    steps = np.full(len(arrays["stamp_ns"]) - 1, 1e9 / 30)
    steps *= np.linspace(0.94, 1.06, len(steps))
    arrays["stamp_ns"][1:] = np.cumsum(steps).astype(np.int64)


def gap(arrays: Arrays) -> None:
    arrays["stamp_ns"][100:] += 2 * 10**9


def stamps_exchanged(arrays: Arrays) -> None:
    arrays["stamp_ns"][[50, 51]] = arrays["stamp_ns"][[51, 50]]


def too_large(arrays: Arrays) -> None:
    arrays["action"][30, 0] = 7.0


def degrees(arrays: Arrays) -> None:
    arrays["proprio"][:, 10:17] = 57.3 * (arrays["proprio"][:, 10:17] + 1)


def millimetres(arrays: Arrays) -> None:
    arrays["proprio"][:, :3] *= 1000


def no_rotation(arrays: Arrays) -> None:
    arrays["proprio"][20:30, 3:9] = 0


FAULTS = {
    "frozen-camera": freeze,
    "repeated-images": repeat,
    "blank-images": blank,
    "image-order": exchange_neighbours,
    "swapped-cameras": exchange_cameras,
    "same-camera": one_camera_twice,
    "duplicate-images": loop,
    "misaligned": late_actions,
    "misaligned gripper": late_gripper,
    "rate": slow,
    "rate drift": drift,
    "rate gap": gap,
    "stamps": stamps_exchanged,
    "values action": too_large,
    "values degrees": degrees,
    "values millimetres": millimetres,
    "values rotation": no_rotation,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_data_is_found_alone(fault, tmp_path, camera_contract):
    path = robot_dataset(tmp_path, camera_contract, only(BAD, FAULTS[fault])).path
    diagnosis = examine(path)
    assert findings(path) == {(fault.split()[0], "error", BAD)}, diagnosis.as_text()
    assert not diagnosis.healthy
    assert all(item.file and item.what and item.advice for item in diagnosis.findings)
    assert examine(path, quick=True).healthy


def test_a_camera_of_half_the_rate_is_healthy_when_the_contract_says_so(tmp_path, camera_contract):
    streams = dict(camera_contract.observations)
    streams["rgb_gripper"] = streams["rgb_gripper"].model_copy(update={"rate_hz": 15.0})
    contract = camera_contract.model_copy(update={"observations": streams})
    path = robot_dataset(tmp_path, contract, lambda name, arrays: repeat(arrays)).path
    assert examine(path).findings == ()


def test_a_fault_of_all_episodes_is_one_of_the_dataset(tmp_path, lowdim_contract):
    path = robot_dataset(tmp_path, lowdim_contract, lambda name, arrays: late_actions(arrays)).path
    diagnosis = examine(path)
    assert findings(path) == {("misaligned", "error", "")}
    assert "4 frames before the actions" in diagnosis.findings[0].what


def test_an_axis_that_goes_the_wrong_way_is_named(tmp_path, lowdim_contract):
    def mirror(name, arrays):
        arrays["action"][:, 1] *= -1

    (finding,) = examine(robot_dataset(tmp_path, lowdim_contract, mirror).path).findings
    assert "against the actions along y" in finding.what


def test_actions_that_have_nothing_to_do_with_the_motion_are_found(tmp_path, lowdim_contract):
    def replace(name, arrays):
        other = episode(lowdim_contract, len(arrays["action"]), 77 + len(name))
        rng = np.random.default_rng(len(arrays["action"]))
        arrays["action"][:-1, :3] = rng.permutation(other["action"][:-1, :3])

    (finding,) = examine(robot_dataset(tmp_path, lowdim_contract, replace).path).findings
    assert finding.check == "misaligned"
    assert "does not move as the actions say" in finding.what


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        (("", "success"), "--task TASK"),
        (("open_drawer", "unknown"), "--outcome success|failure"),
        (("", "unknown"), "--task TASK --outcome success|failure"),
    ],
)
def test_an_unlabelled_demonstration_is_found(tmp_path, lowdim_contract, labels, missing):
    dataset = robot_dataset(tmp_path, lowdim_contract)
    dataset.with_edit("demo_0001", task=labels[0], outcome=labels[1])
    (finding,) = examine(tmp_path).findings
    assert (finding.check, finding.episode) == ("unlabelled", "demo_0001")
    assert finding.advice == f"`diwa dataset label {tmp_path} demo_0001 {missing}`, or --delete"


def test_not_finite_numbers_are_found(tmp_path, lowdim_contract):
    dataset = robot_dataset(tmp_path, lowdim_contract)
    array = dataset.array(BAD, "scene_state").copy()
    array[[3, 7], 5] = np.nan
    path = tmp_path / "shards" / "scene_state" / f"{BAD}.npy"
    np.save(path, array)
    found = examine(tmp_path).findings
    assert {item.check for item in found} == {"values", "content"}
    assert any("not a finite number in frames 3, 7" in item.what for item in found)


def test_an_episode_that_was_recorded_once_and_is_in_twice_is_found(tmp_path, camera_contract):
    dataset = robot_dataset(tmp_path, camera_contract)
    arrays = {key: dataset.array("play_0000", key) for key in dataset.keys}
    writer = DatasetWriter(tmp_path, camera_contract)
    writer.add_episode("play_0007", "play", "", "unknown", arrays)
    writer.finish()
    found = findings(tmp_path)
    assert {("duplicate-episode", "error", "play_0007")} == found


def test_a_demonstration_may_be_a_piece_of_play(tmp_path, camera_contract):
    dataset = robot_dataset(tmp_path, camera_contract)
    whole = {key: dataset.array("play_0000", key) for key in dataset.keys}
    piece = {key: array[30:90] for key, array in whole.items()}
    piece["action"] = piece["action"][:-1]
    writer = DatasetWriter(tmp_path, camera_contract)
    writer.add_episode("demo_0009", "demo", "open_drawer", "success", piece)
    writer.finish()
    assert examine(tmp_path).findings == ()


def test_deleted_episodes_are_not_examined(tmp_path, camera_contract):
    dataset = robot_dataset(tmp_path, camera_contract, only(BAD, freeze))
    dataset.with_edit(BAD, deleted=True)
    assert examine(tmp_path).findings == ()


def test_remarks_of_the_build_are_warnings(tmp_path, lowdim_contract):
    dataset = robot_dataset(tmp_path, lowdim_contract)
    write_report(tmp_path, "play_0000", build_report("play_0000"))
    held = KeyAlignment(received=90, late=0, used=150, held=60, missing=0, oldest_s=0.04)
    write_report(tmp_path, BAD, build_report(BAD, keys={"ee_pose": held}))
    (finding,) = examine(tmp_path).findings
    assert (finding.check, finding.severity, finding.episode) == ("build", "warning", BAD)
    assert "ee_pose held in 40% of the frames" in finding.what
    assert examine(tmp_path).healthy
    dataset.with_edit(BAD, deleted=True)
    assert examine(tmp_path).findings == ()


def test_another_contract_is_shown_with_the_difference(healthy, camera_contract):
    other = camera_contract.model_copy(update={"rate_hz": 15.0})
    (finding,) = examine(healthy.path, other).findings
    assert finding.check == "contract"
    assert "-rate_hz: 30.0" in finding.what
    assert "+rate_hz: 15.0" in finding.what
    assert examine(healthy.path, camera_contract).healthy


def test_stale_statistics_are_found_in_record_and_manifest(tmp_path, lowdim_contract):
    dataset = robot_dataset(tmp_path, lowdim_contract)
    array = dataset.array(BAD, "scene_state").copy()
    array[:, 3] += 0.5
    before = (tmp_path / "manifest.json").read_text()
    record = (tmp_path / "episodes" / f"{BAD}.json").read_text()
    rewrite(dataset, BAD, "scene_state", array)
    assert examine(tmp_path).findings == ()
    new = dataset.open(tmp_path).manifest
    content = next(row.content for row in new.episodes if row.id == BAD)
    old = next(row.content for row in dataset.manifest.episodes if row.id == BAD)
    changed = before.replace(old, content).replace(dataset.hash, new.hash)
    (tmp_path / "manifest.json").write_text(changed)
    assert findings(tmp_path) == {("statistics", "error", "")}
    (tmp_path / "episodes" / f"{BAD}.json").write_text(record.replace(old, content))
    assert findings(tmp_path) == {("statistics", "error", BAD)}


def test_a_merged_dataset_is_as_healthy(tmp_path, healthy):
    merge_datasets([healthy.path], tmp_path / "out")
    assert examine(tmp_path / "out").findings == ()


def test_a_missing_folder_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        examine(tmp_path / "nothing")
