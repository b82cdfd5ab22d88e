# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The arrays that an episode consists of, as its contract lays them down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diwa.data.contract import Contract
from diwa.errors import ConfigError


def array_specs(contract: Contract) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Keys of an episode's arrays, with the type and shape of one frame."""
    specs: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
        "stamp_ns": (np.dtype(np.int64), ()),
        "action": (np.dtype(np.float32), (contract.action.size,)),
        "proprio": (np.dtype(np.float32), (contract.proprio_size,)),
    }
    for key, stream in contract.observations.items():
        if stream.kind == "scene":
            specs[key] = (np.dtype(np.float32), (stream.size,))
        elif stream.kind == "image":
            height, width = stream.store or (stream.height, stream.width)
            specs[key] = (np.dtype(np.uint8), (height, width, 3))
    return specs


def complete_arrays(
    contract: Contract, name: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Arrays of an episode in the stored types, with what may be left out added.

    Raises:
        ConfigError: names episode `name` and the array that does not fit the contract.
    """
    specs = array_specs(contract)
    given = dict(arrays)
    length = len(given.get("proprio", ()))
    given.setdefault(
        "stamp_ns", np.round(np.arange(length) * 1e9 / contract.rate_hz).astype(np.int64)
    )
    neutral = np.array([contract.action.neutral], dtype=np.float32)
    if "action" in given and len(given["action"]) == length - 1:
        given["action"] = np.concatenate([given["action"], neutral])
    if set(given) != set(specs):
        raise ConfigError(
            f"episode {name}: wrong keys", got=sorted(given), expected=str(sorted(specs))
        )
    if length < 2:
        raise ConfigError(
            f"episode {name}: too short", got=f"{length} frames", expected="2 or more"
        )
    checked = {
        key: check_array(f"episode {name}: {key}", given[key], dtype, (length, *shape))
        for key, (dtype, shape) in specs.items()
    }
    if not np.array_equal(checked["action"][-1:], neutral):
        raise ConfigError(
            f"episode {name}: the last action must be neutral", got=checked["action"][-1]
        )
    return checked


def check_array(
    what: str, given: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    """`given` in the stored type; a `ConfigError` about `what` where it does not fit."""
    array = np.asarray(given)
    if array.shape != shape:
        raise ConfigError(f"{what} has the wrong shape", got=array.shape, expected=str(shape))
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ConfigError(f"{what} has the wrong type", got=array.dtype, expected=str(dtype))
    stored = np.ascontiguousarray(array, dtype=dtype)
    if dtype.kind == "f" and not np.isfinite(stored).all():
        raise ConfigError(f"{what} is not finite everywhere")
    return stored
