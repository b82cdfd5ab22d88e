# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Resume states: a cut training goes on bit by bit as if it had not been cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diwa.errors import ConfigError
from diwa.train.state import load_state, rng_state, save_state, set_rng_state

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(tree=TREES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_plain_state_comes_back_equal(tmp_path: Path, tree: Any) -> None:
    save_state(tmp_path / "state", {"tree": tree})
    assert repr(load_state(tmp_path / "state")["tree"]) == repr(tree)  # repr: nan, True against 1


def test_tensors_and_arrays_come_back_equal(tmp_path: Path) -> None:
    state = {
        "tensors": [torch.tensor(0.1), torch.arange(4).reshape(2, 2).T, torch.zeros(0, 3)],
        "bf16": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "bytes": torch.get_rng_state(),
        "arrays": (np.arange(3, dtype=np.int16), np.array(2.5), np.array([], dtype=bool)),
    }
    save_state(tmp_path / "state", state)
    loaded = load_state(tmp_path / "state")
    for got, want in zip(loaded["tensors"], state["tensors"], strict=True):
        assert got.dtype == want.dtype
        assert torch.equal(got, want)
    assert torch.equal(loaded["bf16"], state["bf16"])
    assert torch.equal(loaded["bytes"], state["bytes"])
    for got, want in zip(loaded["arrays"], state["arrays"], strict=True):
        assert isinstance(got, np.ndarray)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


class Learner:
    """A small training loop with every kind of state that a stage has."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1)
        )
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-2, weight_decay=0.1)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, 20)
        self.sampler = np.random.default_rng(2)
        self.noise = torch.Generator().manual_seed(3)

    def train(self, steps: int) -> None:
        for _ in range(steps):
            batch = torch.from_numpy(self.sampler.normal(size=(5, 3))).float()
            batch += torch.randn(batch.shape, generator=self.noise)
            self.optimiser.zero_grad()
            self.model(batch).square().mean().backward()
            self.optimiser.step()
            self.schedule.step()

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "rng": rng_state(sampler=self.sampler, noise=self.noise),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        set_rng_state(state["rng"], sampler=self.sampler, noise=self.noise)


def test_training_resumed_from_a_state_is_bitwise_the_same(tmp_path: Path) -> None:
    straight = Learner()
    straight.train(12)
    cut = Learner()
    cut.train(5)
    save_state(tmp_path / "state", cut.state())
    resumed = Learner()
    resumed.train(2)  # anything: the state must overrule it
    resumed.restore(load_state(tmp_path / "state"))
    resumed.train(7)
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name
    assert resumed.sampler.integers(1 << 60) == straight.sampler.integers(1 << 60)


def test_random_state_needs_the_same_generators() -> None:
    state = rng_state(sampler=np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"(?s)sampler.*noise"):
        set_rng_state(state, noise=torch.Generator())


@pytest.mark.parametrize("generator", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_numpy_generators_of_any_kind_are_restored(tmp_path: Path, generator: Any) -> None:
    rng = np.random.Generator(generator(5))
    rng.normal(size=7)
    save_state(tmp_path / "state", rng_state(rng=rng))
    want = rng.normal(size=3)
    other = np.random.Generator(generator(6))
    set_rng_state(load_state(tmp_path / "state"), rng=other)
    np.testing.assert_array_equal(other.normal(size=3), want)


def test_full_disk_keeps_the_previous_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, {"step": 1})

    def full(tensors: object, filename: Path, metadata: object) -> None:
        Path(filename).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(path, {"step": 2})
    assert load_state(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty"])
def test_damaged_state_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state"
    save_state(path, {"x": torch.arange(5.0)})
    data = path.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    broken = {"truncated": data[:-4], "flipped": flipped, "foreign": b"\x80\x02.", "empty": b""}
    path.write_bytes(broken[damage])
    with pytest.raises(ConfigError, match=r"(?s)damaged.*delete this file"):
        load_state(path)


def test_state_of_another_format_or_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_state(tmp_path / "state")
    with monkeypatch.context() as patch:
        patch.setattr("diwa.train.state.VERSION", "2")
        save_state(tmp_path / "newer", {})
    with pytest.raises(ConfigError, match="another version"):
        load_state(tmp_path / "newer")
    with monkeypatch.context() as patch:
        patch.setattr("diwa.train.state.FORMAT", "other")
        save_state(tmp_path / "other", {})
    with pytest.raises(ConfigError, match="not a saved state"):
        load_state(tmp_path / "other")


def test_what_is_not_plain_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\]: object"):
        save_state(tmp_path / "state", {"a": [1, object()]})
    with pytest.raises(TypeError, match=r"state\['a'\]: a key is tuple"):
        save_state(tmp_path / "state", {"a": {(1, 2): 3}})
    assert list(tmp_path.iterdir()) == []
