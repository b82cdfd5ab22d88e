# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Merging and splitting share arrays, and lose nothing."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from diwa.data.build_report import read_reports, write_report
from diwa.data.combine import merge_datasets, parts_by_label, parts_by_share, split_dataset
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.doctor import examine
from diwa.data.edit import edits_of
from diwa.data.manifest import EpisodeInfo, shard_path
from diwa.errors import ConfigError
from made_up_robot import build_report, episode, robot_dataset


@pytest.fixture
def dataset(tmp_path, lowdim_contract):
    return robot_dataset(tmp_path / "all", lowdim_contract)


def one_episode(path, contract, name, seed):
    writer = DatasetWriter(path, contract)
    writer.add_episode(name, "play", "", "unknown", episode(contract, 40, seed))
    return writer.finish()


def test_split_and_merged_again_is_the_same_dataset(tmp_path, dataset):
    dataset = dataset.with_edit("demo_0001", outcome="failure").with_edit("play_0000", deleted=True)
    parts = parts_by_label(dataset.manifest.episodes, "kind")
    split = split_dataset(dataset.path, parts, tmp_path / "parts")
    assert set(split) == {"play", "demo"}
    merged = merge_datasets([part.path for part in split.values()], tmp_path / "merged")
    assert merged.hash == dataset.hash
    assert merged.manifest.episodes == dataset.manifest.episodes
    assert edits_of(merged.path) == edits_of(dataset.path)
    for key, statistics in merged.statistics.items():
        np.testing.assert_allclose(statistics.mean, dataset.statistics[key].mean, rtol=1e-6)
        np.testing.assert_allclose(statistics.std, dataset.statistics[key].std, rtol=1e-6)
    for info in merged.episodes:
        for key in merged.keys:
            one, other = (shard_path(d.path, key, info.id) for d in (merged, dataset))
            assert one.samefile(other)
    assert examine(merged.path).healthy


def test_what_is_done_to_one_part_is_not_done_to_the_other(tmp_path, dataset):
    merged = merge_datasets([dataset.path], tmp_path / "merged")
    merged.with_edit("demo_0000", outcome="failure")
    writer = DatasetWriter(merged.path, merged.contract)
    writer.add_episode("demo_0001", "play", "", "unknown", episode(merged.contract, 30, 9))
    writer.finish()
    assert Dataset.open(dataset.path).manifest == dataset.manifest
    assert examine(dataset.path).findings == ()


def test_reports_of_the_build_go_with_their_episodes(tmp_path, dataset):
    for name in ("play_0000", "demo_0000"):
        write_report(dataset.path, name, build_report(name))
    parts = parts_by_label(dataset.manifest.episodes, "kind")
    split_dataset(dataset.path, parts, tmp_path / "parts")
    assert list(read_reports(tmp_path / "parts/play")) == ["play_0000"]
    merged = merge_datasets([tmp_path / "parts/play", tmp_path / "parts/demo"], tmp_path / "all2")
    assert read_reports(merged.path) == read_reports(dataset.path)


def test_another_contract_is_refused_with_the_difference(tmp_path, dataset, lowdim_contract):
    other = lowdim_contract.model_copy(update={"rate_hz": 20.0})
    one_episode(tmp_path / "b", other, "x", 1)
    with pytest.raises(ConfigError, match="another contract") as caught:
        merge_datasets([dataset.path, tmp_path / "b"], tmp_path / "out")
    assert "+rate_hz: 20.0" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_same_episode_is_taken_once_and_another_of_its_name_refused(
    tmp_path, dataset, lowdim_contract
):
    merged = merge_datasets([dataset.path, dataset.path], tmp_path / "twice")
    assert merged.hash == dataset.hash
    one_episode(tmp_path / "b", lowdim_contract, "play_0000", 50)
    one_episode(tmp_path / "c", lowdim_contract, "play_0000", 51)
    folders = [dataset.path, tmp_path / "b", tmp_path / "c", tmp_path / "b"]
    with pytest.raises(ConfigError, match="play_0000 is another one"):
        merge_datasets(folders, tmp_path / "out")
    renamed = merge_datasets(folders, tmp_path / "out", rename=True)
    names = {info.id for info in renamed.episodes}
    assert names == {info.id for info in dataset.episodes} | {"play_0000-b2", "play_0000-b3"}
    assert examine(renamed.path).healthy


def test_files_are_copied_where_links_are_not_possible(tmp_path, dataset, monkeypatch):
    def no_link(source, target):
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(os, "link", no_link)
    merged = merge_datasets([dataset.path], tmp_path / "copy")
    one, other = (shard_path(d.path, "action", "play_0000") for d in (dataset, merged))
    assert not one.samefile(other)
    assert examine(merged.path).findings == ()


def test_a_merge_that_was_broken_off_goes_on(tmp_path, dataset, monkeypatch):
    calls = []
    link = os.link

    def stop_midway(source, target):
        calls.append(target)
        if len(calls) == 7:
            raise KeyboardInterrupt
        link(source, target)

    monkeypatch.setattr(os, "link", stop_midway)
    with pytest.raises(KeyboardInterrupt):
        merge_datasets([dataset.path], tmp_path / "out")
    with pytest.raises(ConfigError, match="not a finished dataset"):
        Dataset.open(tmp_path / "out")
    assert merge_datasets([dataset.path], tmp_path / "out").hash == dataset.hash
    with pytest.raises(ConfigError, match="is a dataset already"):
        merge_datasets([dataset.path], tmp_path / "out")


def test_a_missing_shard_is_named(tmp_path, dataset):
    shard_path(dataset.path, "action", "play_0000").unlink()
    with pytest.raises(ConfigError, match=r"action/play_0000\.npy"):
        merge_datasets([dataset.path], tmp_path / "out")


def rows(groups: dict[tuple[str, str], int], pieces: int = 1) -> list[EpisodeInfo]:
    return [
        EpisodeInfo(
            id=f"{kind}_{task}{i}-{piece}",
            length=100,
            kind=kind,
            task=task,
            outcome="unknown",
            source=f"{kind}_{task}{i}",
            content="0",
        )
        for (kind, task), count in groups.items()
        for i in range(count)
        for piece in range(pieces)
    ]


def test_shares_hold_in_every_group_and_bags_stay_together():
    groups = {("play", ""): 20, ("demo", "open_drawer"): 50, ("demo", "turn_on_led"): 10}
    episodes = rows(groups, pieces=2)
    parts = parts_by_share(episodes, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=4)
    drawn = [name for ids in parts.values() for name in ids]
    assert sorted(drawn) == sorted(info.id for info in episodes)
    for (kind, task), count in groups.items():
        mine = {
            name: sum(i.startswith(f"{kind}_{task}") for i in ids) for name, ids in parts.items()
        }
        assert abs(mine["train"] - 2 * count * 0.8) <= 4
        assert mine["val"] and mine["test"]
    for ids in parts.values():
        assert all((name[:-1] + "0" in ids) and (name[:-1] + "1" in ids) for name in ids)
    assert parts == parts_by_share(episodes, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=4)
    assert parts != parts_by_share(episodes, {"train": 0.8, "val": 0.1, "test": 0.1}, seed=5)


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.4}, {"a": 1.2, "b": -0.2}])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ConfigError, match="sum of 1"):
        parts_by_share(rows({("play", ""): 4}), shares)


def test_a_part_without_episodes_is_refused_before_anything_is_written(tmp_path, dataset):
    with pytest.raises(ConfigError, match="no episode is left for part 'b'"):
        split_dataset(dataset.path, {"a": ["play_0000"], "b": []}, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()
