# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Damaged datasets: each kind is named by the doctor, and mended or left out by the repair."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from diwa.data.dataset import Dataset
from diwa.data.doctor import examine
from diwa.data.edit import undo_edit
from diwa.data.manifest import read_record
from diwa.data.repair import repair_dataset
from diwa.errors import ConfigError
from made_up_robot import robot_dataset

ONE, OTHER = "play_0001", "demo_0001"


def shard(folder: Path, key: str = "proprio", name: str = ONE) -> Path:
    return folder / "shards" / key / f"{name}.npy"


def cut_shard(folder: Path) -> None:
    path = shard(folder)
    path.write_bytes(path.read_bytes()[:-1000])


def cut_header(folder: Path) -> None:
    path = shard(folder)
    path.write_bytes(path.read_bytes()[:40])


def shorter_shard(folder: Path) -> None:
    np.save(shard(folder), np.load(shard(folder))[:-3])


def empty_shard(folder: Path) -> None:
    shard(folder).write_bytes(b"")


def no_frames(folder: Path) -> None:
    np.save(shard(folder), np.load(shard(folder))[:0])


def pickled_shard(folder: Path) -> None:
    np.save(shard(folder), np.array([{"a": 1}], dtype=object), allow_pickle=True)


def wrong_type(folder: Path) -> None:
    np.save(shard(folder), np.load(shard(folder)).astype(np.float64))


def by_columns(folder: Path) -> None:
    np.save(shard(folder), np.asfortranarray(np.load(shard(folder))))


def wrong_statistics_in_record(folder: Path) -> None:
    path = folder / "episodes" / f"{OTHER}.json"
    path.write_text(path.read_text().replace('"proprio"', '"propria"'))


def nonsense_header(folder: Path) -> None:
    data = bytearray(shard(folder).read_bytes())
    data[11:13] = b"(("
    shard(folder).write_bytes(data)


def flipped_bits(folder: Path) -> None:
    data = bytearray(shard(folder).read_bytes())
    data[-500] ^= 4
    shard(folder).write_bytes(data)


def exchanged_shards(folder: Path) -> None:
    one, other = shard(folder, "action", "play_0000"), shard(folder, "action", ONE)
    swapped = np.load(one), np.load(other)
    length = len(swapped[1])
    np.save(other, np.concatenate([swapped[0], swapped[0]])[:length])


def edit_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def row_of(raw: dict, name: str) -> dict:
    return next(row for row in raw["episodes"] if row["id"] == name)


def edited_label(folder: Path) -> None:
    edit_manifest(folder, lambda raw: row_of(raw, OTHER).update(task="close_drawer"))


def edited_length(folder: Path) -> None:
    edit_manifest(folder, lambda raw: row_of(raw, OTHER).update(length=5))


def edited_statistics(folder: Path) -> None:
    edit_manifest(folder, lambda raw: raw["statistics"]["proprio"]["mean"].__setitem__(0, 3.0))


def edited_contract(folder: Path) -> None:
    edit_manifest(folder, lambda raw: raw["contract"].update(rate_hz=15.0))


def twice_in_table(folder: Path) -> None:
    edit_manifest(folder, lambda raw: raw["episodes"].append(raw["episodes"][0]))


def future_version(folder: Path) -> None:
    edit_manifest(folder, lambda raw: raw.update(version=2, codec="new"))


def unknown_key(folder: Path) -> None:
    edit_manifest(folder, lambda raw: raw.update(comment="mine"))


def cut_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:900])


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def label_not_utf8(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"open_drawer", b"\xe5ffne_\xff", 1))


def record_not_utf8(folder: Path) -> None:
    path = folder / "episodes" / f"{OTHER}.json"
    path.write_bytes(path.read_bytes().replace(b"open_drawer", b"open_\xff\xfe"))


def no_record(folder: Path) -> None:
    (folder / "episodes" / f"{OTHER}.json").unlink()


def record_of_another(folder: Path) -> None:
    record = (folder / "episodes" / f"{ONE}.json").read_text()
    (folder / "episodes" / f"{OTHER}.json").write_text(record)


def contract_lost(folder: Path) -> None:
    (folder / "contract.yaml").unlink()


def contract_edited(folder: Path) -> None:
    path = folder / "contract.yaml"
    path.write_text(path.read_text().replace("rate_hz: 30.0", "rate_hz: 60.0", 1))


def contract_not_yaml(folder: Path) -> None:
    (folder / "contract.yaml").write_bytes(b"name: [\xff")


def leftovers(folder: Path) -> None:
    path = folder / "shards" / "proprio" / ".play_0009.npy.tmp"
    path.write_bytes(b"half")
    long_ago = time.time() - 7200
    os.utime(path, (long_ago, long_ago))


def cut_report(folder: Path) -> None:
    (folder / "sources").mkdir()
    (folder / "sources" / f"{ONE}.json").write_text('{"version": 2, "fing')


class Damage(NamedTuple):
    """What the doctor has to say, and whether a repair makes it whole again."""

    do: Callable[[Path], None]
    check: str
    says: str
    mends: bool  # the dataset is as it was before; otherwise the episode can be left out


TABLE = [
    Damage(cut_shard, "shard", "cannot be read", False),
    Damage(cut_header, "shard", "cannot be read", False),
    Damage(shorter_shard, "shard", "holds 157 frames", False),
    Damage(empty_shard, "shard", "empty: 0 bytes", False),
    Damage(no_frames, "shard", "holds 0 frames", False),
    Damage(lambda folder: shard(folder).unlink(), "shard", "missing", False),
    Damage(pickled_shard, "shard", "cannot be read", False),
    Damage(wrong_type, "shard", "holds float64", False),
    Damage(by_columns, "shard", "by columns", False),
    Damage(nonsense_header, "shard", "cannot be read", False),
    Damage(flipped_bits, "content", "hash differs", False),
    Damage(exchanged_shards, "content", "hash differs", False),
    Damage(edited_label, "table", "task 'close_drawer' instead of 'open_drawer'", True),
    Damage(edited_length, "table", "length 5 instead of 64", True),
    Damage(edited_statistics, "statistics", "proprio", True),
    Damage(edited_contract, "contract", "rate_hz: 15.0", True),
    Damage(twice_in_table, "table", "2 times", True),
    Damage(unknown_key, "manifest", "comment", True),
    Damage(cut_manifest, "manifest", "not valid JSON", True),
    Damage(no_manifest, "manifest", "not a finished dataset", True),
    Damage(label_not_utf8, "manifest", "can't decode byte", True),
    Damage(record_not_utf8, "record", "can't decode byte", True),
    Damage(no_record, "record", "no such file", True),
    Damage(record_of_another, "record", "record of episode play_0001", True),
    Damage(wrong_statistics_in_record, "record", "not those of the contract's arrays", True),
    Damage(contract_lost, "contract", "missing", True),
    Damage(contract_edited, "contract", "rate_hz: 60.0", True),
    Damage(contract_not_yaml, "contract", "not valid YAML", True),
    Damage(cut_report, "report", "not valid JSON", True),
    Damage(leftovers, "leftovers", "1 temporary files", True),
]
NAMES = [getattr(item.do, "__name__", "") for item in TABLE]


@pytest.mark.parametrize("damage", TABLE, ids=NAMES)
def test_damage_is_named_and_repaired_or_left_out(damage, tmp_path, lowdim_contract):
    before = robot_dataset(tmp_path, lowdim_contract)
    shards = sorted((tmp_path / "shards").rglob("[!.]*.npy"))
    damage.do(tmp_path)
    diagnosis = examine(tmp_path)
    matching = [item for item in diagnosis.findings if item.check == damage.check]
    assert matching, diagnosis.as_text()
    assert any(damage.says in item.what for item in matching), diagnosis.as_text()
    assert all(item.file for item in diagnosis.findings)
    assert all(item.advice for item in matching)
    assert json.loads(diagnosis.model_dump_json())["findings"]
    content = {path: path.read_bytes() for path in shards if path.exists()}
    repair = repair_dataset(tmp_path)
    if damage.mends:
        assert repair.done
        assert repair.remaining.findings == ()
        assert Dataset.open(tmp_path).manifest == before.manifest
        assert repair_dataset(tmp_path).done == ()
    else:
        assert not repair.remaining.healthy
        rest = repair_dataset(tmp_path, leave_out=True)
        assert rest.remaining.healthy, rest.remaining.as_text()
        kept = {info.id for info in Dataset.open(tmp_path).episodes}
        assert kept == {info.id for info in before.episodes} - {ONE}
        undo_edit(tmp_path)
        assert not examine(tmp_path).healthy
    assert {path: path.read_bytes() for path in shards if path.exists()} == content


def test_a_newer_format_is_never_touched(tmp_path, lowdim_contract):
    robot_dataset(tmp_path, lowdim_contract)
    future_version(tmp_path)
    before = (tmp_path / "manifest.json").read_bytes()
    (finding,) = examine(tmp_path).findings
    assert "unknown version" in finding.what
    assert "update" in finding.advice
    with pytest.raises(ConfigError, match="made by a newer diwa"):
        repair_dataset(tmp_path)
    with pytest.raises(ConfigError, match="made by a newer diwa"):
        Dataset.open(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_an_episode_without_record_and_arrays_leaves_the_table(tmp_path, lowdim_contract):
    robot_dataset(tmp_path, lowdim_contract)
    no_record(tmp_path)
    shard(tmp_path, "action", OTHER).unlink()
    repair = repair_dataset(tmp_path)
    assert any(f"took {OTHER} out" in step for step in repair.done)
    assert repair.remaining.healthy
    assert OTHER not in {info.id for info in Dataset.open(tmp_path).manifest.episodes}


def test_what_a_repair_replaces_is_kept(tmp_path, lowdim_contract):
    robot_dataset(tmp_path, lowdim_contract)
    edited_label(tmp_path)
    damaged = (tmp_path / "manifest.json").read_bytes()
    repair_dataset(tmp_path)
    assert (tmp_path / "manifest.json.old").read_bytes() == damaged


def test_a_repair_keeps_labels_and_their_history(tmp_path, lowdim_contract):
    dataset = robot_dataset(tmp_path, lowdim_contract)
    edited = dataset.with_edit(OTHER, outcome="failure").with_edit(ONE, deleted=True)
    no_manifest(tmp_path)
    repair_dataset(tmp_path)
    assert Dataset.open(tmp_path).manifest == edited.manifest
    assert len(read_record(tmp_path, OTHER).history) == 1


def test_an_edit_that_was_broken_off_is_finished_by_the_next(tmp_path, lowdim_contract):
    dataset = robot_dataset(tmp_path, lowdim_contract)
    manifest = (tmp_path / "manifest.json").read_text()
    dataset.with_edit(OTHER, outcome="failure")
    (tmp_path / "manifest.json").write_text(manifest)  # killed between record and manifest
    assert {item.check for item in examine(tmp_path).findings} == {"table", "statistics"} - {
        "statistics"
    }
    dataset.with_edit("demo_0000", outcome="failure")
    outcomes = {info.id: info.outcome for info in Dataset.open(tmp_path).episodes}
    assert outcomes[OTHER] == outcomes["demo_0000"] == "failure"
    assert examine(tmp_path).findings == ()


def test_two_contracts_that_no_hash_confirms_are_not_guessed(tmp_path, lowdim_contract):
    robot_dataset(tmp_path, lowdim_contract)
    edited_contract(tmp_path)
    edited_label(tmp_path)
    with pytest.raises(ConfigError, match="two contracts"):
        repair_dataset(tmp_path)


@pytest.mark.parametrize(
    "lost", [("manifest.json", "contract.yaml"), ("manifest.json", "episodes")]
)
def test_without_descriptions_there_is_nothing_to_repair_from(tmp_path, lowdim_contract, lost):
    robot_dataset(tmp_path, lowdim_contract)
    for name in lost:
        path = tmp_path / name
        path.rename(tmp_path / f"lost-{name}")
    with pytest.raises(ConfigError, match="from its bags"):
        repair_dataset(tmp_path)
