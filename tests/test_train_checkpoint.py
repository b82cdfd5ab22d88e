# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what comes back, and what a crash or a wrong file does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import diwa.files
from diwa.errors import ConfigError
from diwa.train import checkpoint
from diwa.train.checkpoint import load_weights, save_weights

META = {"kind": "policy", "settings": {"steps": 20, "betas": [0.5, 1e-3]}}


def weights(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {
        "layer.weight": torch.full((3, 4), value),
        "layer.half": torch.full((2,), value, dtype=torch.bfloat16),
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False]),
    }


def header(directory: Path) -> dict:
    return json.loads((directory / "checkpoint.json").read_text())


def rewrite(directory: Path, **changes: object) -> None:
    (directory / "checkpoint.json").write_text(json.dumps({**header(directory), **changes}))


def tensor_file(directory: Path) -> Path:
    (path,) = directory.glob("weights-*.safetensors")
    return path


def assert_same(got: dict[str, torch.Tensor], want: dict[str, torch.Tensor]) -> None:
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert got[name].dtype == tensor.dtype
        assert torch.equal(got[name], tensor), name


def test_weights_come_back_equal(tmp_path: Path) -> None:
    save_weights(tmp_path, weights(), META)
    loaded = load_weights(tmp_path, "policy")
    assert_same(loaded.tensors, weights())
    assert loaded.meta == META


def test_tied_and_transposed_weights_come_back_equal(tmp_path: Path) -> None:
    base = torch.arange(6.0).reshape(2, 3)
    tied = {"a": base, "b": base, "c": base.T, "d": base[0].expand(4, 3)}
    save_weights(tmp_path, tied, META)
    assert_same(load_weights(tmp_path, "policy").tensors, tied)


def test_saving_again_replaces_and_leaves_one_tensor_file(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 2.0):
        save_weights(tmp_path, weights(value), META)
    assert_same(load_weights(tmp_path, "policy").tensors, weights(2.0))
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint.json",
        tensor_file(tmp_path).name,
    }


def test_crash_between_the_two_files_keeps_the_old_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(tmp_path, weights(1.0), META)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            save_weights(tmp_path, weights(2.0), META)
    assert len(list(tmp_path.glob("weights-*"))) == 2
    assert_same(load_weights(tmp_path, "policy").tensors, weights(1.0))
    save_weights(tmp_path, weights(3.0), META)  # the next save sweeps the leftover
    assert_same(load_weights(tmp_path, "policy").tensors, weights(3.0))
    assert len(list(tmp_path.glob("weights-*"))) == 1


def test_full_disk_keeps_the_old_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(tmp_path, weights(1.0), META)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(tmp_path, weights(2.0), META)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert_same(load_weights(tmp_path, "policy").tensors, weights(1.0))


def test_json_is_renamed_after_the_tensors_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed: list[str] = []
    original = Path.replace

    def spy(self: Path, target: Path) -> Path:
        renamed.append(target.name)
        return original(self, target)

    monkeypatch.setattr(diwa.files.Path, "replace", spy)
    save_weights(tmp_path, weights(), META)
    assert renamed == [tensor_file(tmp_path).name, "checkpoint.json"]


def test_load_survives_a_replacement_between_its_two_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_weights(tmp_path, weights(1.0), META)
    original = checkpoint._read_header
    calls = []

    def slow_reader(directory: Path, kind: str) -> dict:
        result = original(directory, kind)
        if not calls:
            save_weights(directory, weights(2.0), META)
        calls.append(kind)
        return result

    monkeypatch.setattr(checkpoint, "_read_header", slow_reader)
    assert_same(load_weights(tmp_path, "policy").tensors, weights(2.0))
    assert len(calls) == 2


def test_load_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint here"):
        load_weights(tmp_path / "nothing", "policy")
    save_weights(tmp_path, weights(), META)
    with pytest.raises(ConfigError, match=r"(?s)wrong kind.*policy.*world_model"):
        load_weights(tmp_path, "world_model")
    sound = header(tmp_path)
    for changes, message in [
        ({"version": 2}, "another version"),
        ({"format": "other"}, "not a checkpoint of this project"),
        ({"weights": {"file": "x"}}, "damaged"),
        ({"meta": None}, "damaged"),
        ({"weights": {**sound["weights"], "file": "weights-00000000.safetensors"}}, "incomplete"),
    ]:
        rewrite(tmp_path, **{**sound, **changes})
        with pytest.raises(ConfigError, match=message):
            load_weights(tmp_path, "policy")
    (tmp_path / "checkpoint.json").write_text('{"format": "diwa-che')
    with pytest.raises(ConfigError, match="not valid JSON"):
        load_weights(tmp_path, "policy")
    (tmp_path / "checkpoint.json").write_text("[1, 2]")
    with pytest.raises(ConfigError, match="not a checkpoint of this project"):
        load_weights(tmp_path, "policy")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign"])
def test_load_refuses_damaged_tensors(tmp_path: Path, damage: str) -> None:
    save_weights(tmp_path, weights(), META)
    path = tensor_file(tmp_path)
    data = path.read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes({"truncated": data[:-8], "flipped": flipped, "foreign": b"\x80\x02."}[damage])
    with pytest.raises(ConfigError, match=r"(?s)damaged.*checksum"):
        load_weights(tmp_path, "policy")


def test_load_reads_only_inside_its_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    save_weights(inside, weights(), META)
    save_weights(outside, weights(2.0), META)
    stolen = header(outside)["weights"]
    rewrite(inside, weights={**stolen, "file": f"../out/{stolen['file']}"})
    with pytest.raises(ConfigError, match="incomplete"):
        load_weights(inside, "policy")


def test_a_pickle_named_like_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    save_weights(tmp_path, weights(), META)
    path = tensor_file(tmp_path)
    torch.save({"weight": torch.ones(2)}, path)
    digest = diwa.files.sha256_file(path)
    rewrite(tmp_path, weights={"file": path.name, "sha256": digest})
    with pytest.raises(ConfigError, match="not a safetensors file"):
        load_weights(tmp_path, "policy")


def test_save_needs_a_kind(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="kind"):
        save_weights(tmp_path, weights(), {})
