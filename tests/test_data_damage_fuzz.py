# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Any damage to any file of a dataset is found, or is none; nothing ends in a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.doctor import examine
from diwa.data.repair import repair_dataset
from diwa.errors import ConfigError
from made_up_robot import episode


@pytest.fixture(scope="module")
def whole(tmp_path_factory, lowdim_contract) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "whole"
    writer = DatasetWriter(folder, lowdim_contract)
    for seed, name in enumerate(("a", "b", "c")):
        writer.add_episode(
            name, "demo", "open_drawer", "success", episode(lowdim_contract, 32, seed)
        )
    writer.finish().with_edit("b", outcome="failure")
    return folder


def contents(folder: Path) -> tuple[object, dict[str, bytes]]:
    """Everything that a reader sees; statistics as they are used, in single precision."""
    dataset = Dataset.open(folder)
    arrays = {
        f"{info.id} {key}": np.asarray(dataset.array(info.id, key)).tobytes()
        for info in dataset.episodes
        for key in dataset.keys
    }
    return (dataset.contract, dataset.episodes), arrays


DAMAGE = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True), st.just(0)),
    st.tuples(st.just("zeros"), st.floats(0, 1, exclude_max=True), st.integers(1, 64)),
    st.tuples(st.just("insert"), st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
    st.tuples(st.just("remove"), st.just(0.0), st.just(0)),
)


def damage(path: Path, kind: str, where: float, value: int) -> None:
    data = bytearray(path.read_bytes())
    at = int(where * len(data))
    if kind == "flip":
        data[at] ^= value
    elif kind == "cut":
        del data[at:]
    elif kind == "zeros":
        data[at : at + value] = bytes(len(data[at : at + value]))
    elif kind == "insert":
        data.insert(at, value)
    path.unlink()
    if kind != "remove":
        path.write_bytes(data)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_to_any_file_is_found_or_harmless(whole, data):
    folder = whole.parent / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    described = [path for path in files if path.suffix != ".npy"]
    path = data.draw(st.sampled_from(described * 3 + files), label="file")
    damage(path, *data.draw(DAMAGE, label="damage"))
    diagnosis = examine(folder)
    assert diagnosis.as_text()
    if not diagnosis.findings:
        assert contents(folder) == contents(whole)
        return
    try:
        repair = repair_dataset(folder, leave_out=True)
    except ConfigError:
        return
    assert repair.remaining.healthy, repair.remaining.as_text()
    arrays = contents(folder)[1]
    originals = contents(whole)[1]
    assert all(originals[name] == content for name, content in arrays.items())
