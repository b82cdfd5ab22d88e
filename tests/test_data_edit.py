# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Labels and deletions are steps that can be taken back, one by one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from diwa.data import edit as editing
from diwa.data.dataset import Dataset
from diwa.data.doctor import examine
from diwa.data.edit import choose_episodes, edit_episodes, edits_of, undo_edit
from diwa.data.manifest import read_manifest
from diwa.errors import ConfigError
from made_up_robot import robot_dataset


@pytest.fixture
def folder(tmp_path, lowdim_contract):
    robot_dataset(tmp_path, lowdim_contract)
    return tmp_path


def shards(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.npy")}


def test_an_edit_of_many_is_taken_back_as_one(folder):
    before, arrays = read_manifest(folder), shards(folder)
    names = choose_episodes(before, ["demo_*"], folder)
    assert names == ["demo_0000", "demo_0001", "demo_0002"]
    after = edit_episodes(folder, {name: {"outcome": "failure"} for name in names}, "too slow")
    assert {info.outcome for info in after.episodes if info.kind == "demo"} == {"failure"}
    assert after.hash != before.hash
    undone, edit, manifest = undo_edit(folder)
    assert undone == names
    assert edit.reason == "too slow"
    assert edit.changes == {"outcome": ("success", "failure")}
    assert manifest == before == read_manifest(folder)
    assert shards(folder) == arrays
    assert [item.undone for _, item in edits_of(folder)] == [True] * 3
    with pytest.raises(ConfigError, match="no edit to take back"):
        undo_edit(folder)


CHANGES = st.tuples(
    st.sampled_from(["play_0000", "play_0001", "demo_0000"]),
    st.one_of(
        st.fixed_dictionaries({"outcome": st.sampled_from(["unknown", "success", "failure"])}),
        st.fixed_dictionaries({"task": st.sampled_from(["", "open_drawer", "Schublade öffnen"])}),
        st.fixed_dictionaries({"deleted": st.booleans()}),
    ),
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=st.lists(CHANGES, min_size=1, max_size=6))
def test_taking_back_walks_through_all_earlier_states(folder, changes):
    states = [read_manifest(folder)]
    for name, update in changes:
        manifest = edit_episodes(folder, {name: update})
        if manifest != states[-1]:
            states.append(manifest)
    for expected in reversed(states[:-1]):
        assert undo_edit(folder)[2] == expected


def test_an_edit_that_changes_nothing_leaves_no_trace(folder):
    edit_episodes(folder, {"demo_0000": {"outcome": "success"}})
    assert edits_of(folder) == []


@pytest.mark.parametrize(
    ("name", "update", "message"),
    [
        ("nine", {"task": "x"}, "no episode 'nine'"),
        ("demo_0000", {"outcome": "great"}, "outcome"),
        ("demo_0000", {"task": "a\nb"}, "printable"),
        ("demo_0000", {"task": " open"}, "printable"),
        ("demo_0000", {"task": "\udcff"}, "printable"),  # not UTF-8 on the command line
        ("demo_0000", {"length": 3}, "cannot be edited"),
    ],
)
def test_a_wrong_edit_changes_nothing(folder, name, update, message):
    before = read_manifest(folder)
    with pytest.raises(ConfigError, match=message):
        edit_episodes(folder, {"demo_0001": {"outcome": "failure"}, name: update})
    assert read_manifest(folder) == before
    assert edits_of(folder) == []


def test_the_last_episode_cannot_be_deleted(folder):
    names = [info.id for info in read_manifest(folder).episodes]
    with pytest.raises(ConfigError, match="no episode would be left"):
        edit_episodes(folder, {name: {"deleted": True} for name in names})
    assert edits_of(folder) == []
    assert len(Dataset.open(folder).episodes) == len(names)


def test_a_manifest_that_was_changed_by_hand_is_not_edited(folder):
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    raw["episodes"][0]["task"] = "mine"
    path.write_text(json.dumps(raw))
    with pytest.raises(ConfigError, match="changed by other means"):
        edit_episodes(folder, {"demo_0001": {"outcome": "failure"}})


def test_edits_are_in_order_even_when_the_clock_was_set_back(folder, monkeypatch):
    edit_episodes(folder, {"demo_0000": {"outcome": "failure"}})
    now = editing.datetime.now(editing.timezone.utc)

    class EarlierClock(editing.datetime):
        @classmethod
        def now(cls, tz=None):
            return now.replace(year=now.year - 1)

    monkeypatch.setattr(editing, "datetime", EarlierClock)
    edit_episodes(folder, {"demo_0000": {"outcome": "unknown"}})
    assert [edit.changes["outcome"] for _, edit in edits_of(folder)] == [
        ("success", "failure"),
        ("failure", "unknown"),
    ]
    assert undo_edit(folder)[1].changes["outcome"] == ("failure", "unknown")


def test_edits_from_several_threads_are_all_kept(folder):
    names = [info.id for info in read_manifest(folder).episodes]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: edit_episodes(folder, {name: {"task": f"t {name}"}}), names))
    assert {info.id: info.task for info in read_manifest(folder).episodes} == {
        name: f"t {name}" for name in names
    }


@pytest.mark.parametrize("writes", range(5))
def test_an_edit_that_is_killed_at_any_write_is_finished_by_the_same_command(
    folder, monkeypatch, writes
):
    """Three records, the contract and the manifest are written; the process dies before one."""
    before = read_manifest(folder)
    names = choose_episodes(before, ["demo_*"], folder)
    changes = {name: {"outcome": "failure"} for name in names}
    done = []
    replace = Path.replace

    def die(self, target):
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(target)
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            edit_episodes(folder, changes)
    assert read_manifest(folder) == before
    assert {item.check for item in examine(folder).findings} <= {"table"}
    after = edit_episodes(folder, changes)
    assert {info.outcome for info in after.episodes if info.kind == "demo"} == {"failure"}
    assert examine(folder).findings == ()


def test_an_unknown_pattern_shows_what_there_is(folder):
    with pytest.raises(ConfigError, match="demo_0000") as caught:
        choose_episodes(read_manifest(folder), ["demo_0000", "dmo*"], folder)
    assert "dmo*" in str(caught.value)
