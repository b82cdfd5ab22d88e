# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from diwa.data.arrays import array_specs
from diwa.data.contract import Contract
from diwa.data.dataset import MOST_MAPS, Dataset, DatasetWriter
from diwa.data.manifest import shard_path
from diwa.errors import ConfigError


def episode_arrays(contract: Contract, length: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {}
    for key, (dtype, shape) in array_specs(contract).items():
        if dtype == np.uint8:
            arrays[key] = rng.integers(0, 256, (length, *shape), dtype=np.uint8)
        else:
            arrays[key] = rng.normal(3.0, 2.0, (length, *shape)).astype(dtype)
    arrays["stamp_ns"] = np.round(np.arange(length) * 1e9 / contract.rate_hz).astype(np.int64)
    arrays["action"][-1] = contract.action.neutral
    return arrays


@pytest.fixture
def written(tmp_path, camera_contract):
    writer = DatasetWriter(tmp_path / "data", camera_contract)
    episodes = {f"ep{i}": episode_arrays(camera_contract, 20 + 7 * i, i) for i in range(4)}
    for name, arrays in episodes.items():
        writer.add_episode(name, "demo", "open_drawer", "success", arrays)
    return writer.finish(), episodes


def test_dataset_returns_what_was_written(written):
    dataset, episodes = written
    reopened = Dataset.open(dataset.path)
    assert reopened.hash == dataset.hash
    assert [info.id for info in reopened.episodes] == sorted(episodes)
    for name, arrays in episodes.items():
        for key in reopened.keys:
            stored = reopened.array(name, key)
            assert stored.dtype == arrays[key].dtype
            assert not stored.flags.writeable
            np.testing.assert_array_equal(stored, arrays[key])


def test_statistics_equal_those_of_all_frames_together(written):
    dataset, episodes = written
    for key in ("proprio", "scene_state", "rgb_static", "action"):
        parts = [a[key][:-1] if key == "action" else a[key] for a in episodes.values()]
        flat = np.concatenate(parts).astype(np.float64)
        flat = flat.reshape(-1, flat.shape[-1])
        statistics = dataset.statistics[key]
        np.testing.assert_allclose(statistics.mean, flat.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(statistics.std, flat.std(axis=0), rtol=1e-5)
        np.testing.assert_allclose(statistics.min, flat.min(axis=0), rtol=1e-6)
        np.testing.assert_allclose(statistics.max, flat.max(axis=0), rtol=1e-6)


def test_edit_changes_hash_and_statistics_and_can_be_taken_back(written):
    dataset, _ = written
    edited = dataset.with_edit("ep1", deleted=True)
    assert "ep1" not in {info.id for info in Dataset.open(dataset.path).episodes}
    assert edited.hash != dataset.hash
    assert not np.array_equal(edited.statistics["proprio"].mean, dataset.statistics["proprio"].mean)
    assert edited.with_edit("ep1", deleted=False).manifest == dataset.manifest


def test_relabelling_changes_the_hash_only(written):
    dataset, _ = written
    edited = dataset.with_edit("ep2", outcome="failure", task="close_drawer")
    assert edited.hash != dataset.hash
    assert edited.manifest.statistics == dataset.manifest.statistics


def test_edit_refuses_an_unknown_episode_or_label(written):
    dataset, _ = written
    with pytest.raises(ConfigError, match="no episode 'nine'"):
        dataset.with_edit("nine", deleted=True)
    with pytest.raises(ValueError, match="outcome"):
        dataset.with_edit("ep1", outcome="great")
    assert Dataset.open(dataset.path).hash == dataset.hash


def test_finish_keeps_earlier_edits_and_takes_only_what_is_asked(written, camera_contract):
    dataset, _ = written
    dataset.with_edit("ep0", outcome="failure")
    writer = DatasetWriter(dataset.path, camera_contract)
    arrays = episode_arrays(camera_contract, 9, 9)
    writer.add_episode("ep9", "play", "", "unknown", arrays)
    assert {i.id: i.outcome for i in writer.finish().episodes} == {
        **{"ep0": "failure", "ep9": "unknown"},
        **{f"ep{i}": "success" for i in (1, 2, 3)},
    }
    assert [info.id for info in writer.finish(only=["ep9", "ep3"]).episodes] == ["ep3", "ep9"]


def test_hash_depends_on_content_not_on_order_or_place(tmp_path, lowdim_contract):
    hashes = set()
    for folder, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        writer = DatasetWriter(tmp_path / folder, lowdim_contract)
        for i in order:
            arrays = episode_arrays(lowdim_contract, 12, i)
            writer.add_episode(f"e{i}", "play", "", "unknown", arrays, source=folder)
        hashes.add(writer.finish().hash)
    assert len(hashes) == 1
    arrays = episode_arrays(lowdim_contract, 12, 2)
    arrays["action"][3, 0] += 0.5
    writer.add_episode("e2", "play", "", "unknown", arrays)
    assert writer.finish().hash not in hashes


def test_missing_stamps_and_last_action_are_added(tmp_path, lowdim_contract):
    arrays = episode_arrays(lowdim_contract, 30, 0)
    short = {key: value for key, value in arrays.items() if key != "stamp_ns"}
    short["action"] = arrays["action"][:-1]
    writer = DatasetWriter(tmp_path, lowdim_contract)
    writer.add_episode("full", "play", "", "unknown", arrays)
    writer.add_episode("short", "play", "", "unknown", short)
    full, partial = writer.finish().episodes
    assert full.content == partial.content


def damage(arrays, key, change):
    arrays[key] = change(arrays[key])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("proprio"), "wrong keys"),
        (lambda a: a.update(extra=np.zeros(10)), "wrong keys"),
        (lambda a: damage(a, "scene_state", lambda v: v[:, :-1]), "wrong shape"),
        (lambda a: damage(a, "scene_state", lambda v: v[:-1]), "wrong shape"),
        (lambda a: damage(a, "stamp_ns", lambda v: v * 1.5), "wrong type"),
        (lambda a: damage(a, "proprio", lambda v: np.where(v > 3, np.nan, v)), "not finite"),
        (lambda a: damage(a, "action", np.ones_like), "last action must be neutral"),
        (lambda a: [damage(a, k, lambda v: v[-1:]) for k in list(a)], "too short"),
    ],
)
def test_writer_refuses_arrays_that_do_not_fit(tmp_path, lowdim_contract, change, message):
    arrays = episode_arrays(lowdim_contract, 10, 0)
    change(arrays)
    writer = DatasetWriter(tmp_path, lowdim_contract)
    with pytest.raises(ConfigError, match=message):
        writer.add_episode("bad", "play", "", "unknown", arrays)
    assert not writer.has("bad")


def test_writer_refuses_ids_that_leave_the_folder(tmp_path, lowdim_contract):
    writer = DatasetWriter(tmp_path / "data", lowdim_contract)
    arrays = episode_arrays(lowdim_contract, 5, 0)
    with pytest.raises(ValueError, match="id"):
        writer.add_episode("../up", "play", "", "unknown", arrays)
    assert not list(tmp_path.rglob("*.npy"))


def test_writer_refuses_another_contract(written, lowdim_contract):
    dataset, _ = written
    with pytest.raises(ConfigError, match="another contract") as caught:
        DatasetWriter(dataset.path, lowdim_contract)
    assert "rgb_static" in str(caught.value)


def test_open_without_manifest_says_what_to_do(tmp_path, lowdim_contract):
    writer = DatasetWriter(tmp_path, lowdim_contract)
    writer.add_episode("a", "play", "", "unknown", episode_arrays(lowdim_contract, 5, 0))
    with pytest.raises(ConfigError, match="dataset build"):
        Dataset.open(tmp_path)


def test_open_refuses_a_manifest_of_another_format(written):
    dataset, _ = written
    path = dataset.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    with pytest.raises(ConfigError, match="version"):
        Dataset.open(dataset.path)


def test_a_damaged_shard_is_named(written):
    dataset, _ = written
    path = shard_path(dataset.path, "action", "ep1")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigError, match=r"action/ep1\.npy"):
        Dataset.open(dataset.path).array("ep1", "action")


def test_pickled_shards_are_refused(written):
    dataset, _ = written
    path = shard_path(dataset.path, "action", "ep1")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match="allow_pickle"):
        Dataset.open(dataset.path).array("ep1", "action")


def test_large_arrays_are_mapped_and_few_stay_open(tmp_path, camera_contract):
    writer = DatasetWriter(tmp_path, camera_contract)
    arrays = episode_arrays(camera_contract, 25, 0)
    for i in range(MOST_MAPS // 2 + 5):
        writer.add_episode(f"e{i}", "play", "", "unknown", arrays)
    dataset = writer.finish()
    for info in dataset.episodes:
        for key in ("rgb_static", "rgb_gripper"):
            assert isinstance(dataset.array(info.id, key), np.memmap)
        assert not isinstance(dataset.array(info.id, "proprio"), np.memmap)
    assert len(dataset._mapped) == MOST_MAPS
