# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Names, labels and the way to `discarded/` and back."""

from datetime import datetime, timedelta, timezone

import pytest

from diwa.data.bag_folder import BagFolder, label_bag, undo_label
from diwa.data.episode import EpisodeRecord, find_bags, read_episode, write_episode
from diwa.errors import ConfigError

NOW = datetime(2026, 11, 22, 11, 57, 4, tzinfo=timezone.utc)


def add(folder, name, contract, **fields):
    bag = folder / name
    bag.mkdir(parents=True)
    write_episode(bag, EpisodeRecord(id=name, kind="play", contract=contract, **fields))
    return bag


def test_episode_names_count_on_over_all_sessions(tmp_path):
    folder = BagFolder(tmp_path)
    assert BagFolder(tmp_path / "none").next_id("e", NOW) == "e_0000_20261122T115704Z"
    names = ("e_0003", "e_x", "other_0009", "e_0001_20250101T000000Z", "discarded/e_0007")
    for name in names:
        (tmp_path / name).mkdir(parents=True)
    assert folder.next_id("e", NOW) == "e_0008_20261122T115704Z"
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
    assert folder.next_id("e", tokyo) == "e_0008_20261122T115704Z"
    (tmp_path / "e_12345_20250101T000000Z").mkdir()
    assert folder.next_id("e", NOW) == "e_12346_20261122T115704Z"


def test_prefixes_that_are_no_file_names_are_refused(tmp_path):
    for prefix in ("", "../up", "a b", ".hidden"):
        with pytest.raises(ConfigError, match="prefix"):
            BagFolder(tmp_path).next_id(prefix, NOW)


def test_discarded_episodes_come_back(tmp_path, lowdim_contract):
    folder = BagFolder(tmp_path)
    first = add(tmp_path, "e_0000_20260101T000000Z", lowdim_contract, task="a")
    second = add(tmp_path, "e_0001_20260101T000100Z", lowdim_contract)
    assert folder.kept() == second
    gone = folder.discard(second.name, "spilled")
    assert (gone.id, gone.history[-1].what, gone.history[-1].reason) == (
        second.name,
        "discard",
        "spilled",
    )
    assert find_bags(tmp_path) == [first]
    assert folder.kept() == first
    folder.discard(first.name, "")
    assert find_bags(tmp_path) == []
    assert folder.thrown_away() == tmp_path / "discarded" / first.name
    restored = folder.restore("")
    assert restored == read_episode(first)
    assert [edit.what for edit in restored.history] == ["discard", "restore"]
    assert find_bags(tmp_path) == [first]
    with pytest.raises(ConfigError, match="no episode e_0000"):
        folder.restore(first.name)
    assert folder.restore(second.name).id == second.name


@pytest.mark.parametrize("name", ["../e", "/etc", "a/b", "discarded"])
def test_only_names_of_bags_are_taken(tmp_path, lowdim_contract, name):
    add(tmp_path / "inside", "e_0000", lowdim_contract)
    add(tmp_path, "e", lowdim_contract)
    with pytest.raises(ConfigError, match="episode"):
        BagFolder(tmp_path / "inside").discard(name)


def test_an_episode_of_that_name_is_never_overwritten(tmp_path, lowdim_contract):
    add(tmp_path, "e_0000", lowdim_contract, note="new")
    add(tmp_path / "discarded", "e_0000", lowdim_contract, note="old")
    for move in (BagFolder(tmp_path).discard, BagFolder(tmp_path).restore):
        with pytest.raises(ConfigError, match="exists already"):
            move("e_0000")
    assert read_episode(tmp_path / "e_0000").note == "new"


def test_labels_keep_what_was_there_before(tmp_path, lowdim_contract):
    bag = add(tmp_path, "e_0000", lowdim_contract, note="as it was")
    changed = label_bag(bag, task="open_drawer", outcome="success", reason="seen on video")
    assert changed == read_episode(bag)
    assert (changed.kind, changed.task, changed.outcome) == ("demo", "open_drawer", "success")
    assert changed.note == "as it was"
    (edit,) = changed.history
    assert (edit.kind, edit.task, edit.outcome, edit.reason) == (
        "play",
        "",
        "unknown",
        "seen on video",
    )
    assert label_bag(bag, task="open_drawer", outcome="success") == changed  # nothing to change
    assert label_bag(bag, task="").kind == "play"
    undone = undo_label(bag)
    assert (undone.kind, undone.task, undone.outcome) == ("demo", "open_drawer", "success")
    assert len(undone.history) == 3


def test_nothing_to_undo_is_said(tmp_path, lowdim_contract):
    with pytest.raises(ConfigError, match="nothing to undo"):
        undo_label(add(tmp_path, "e_0000", lowdim_contract))


def test_a_label_that_is_none_is_refused(tmp_path, lowdim_contract):
    bag = add(tmp_path, "e_0000", lowdim_contract)
    with pytest.raises(ConfigError, match="outcome"):
        label_bag(bag, outcome="splendid")
    assert read_episode(bag).outcome == "unknown"
