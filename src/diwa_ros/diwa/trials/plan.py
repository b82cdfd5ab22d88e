# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a series of trials is going to be, and in which order: fixed before the first trial.

Every start is tried by both policies, one right after the other; which one goes first is drawn by
chance, half of the pairs each way. So a robot that gets warm, a scene that wears out or a person
who gets tired favours neither.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic

from diwa.agent import KIND
from diwa.config import Config, parse_config
from diwa.data.contract import Contract
from diwa.errors import ConfigError
from diwa.files import sha256_file, write_text
from diwa.train.checkpoint import FILE_NAME, load_weights

Arm = Literal["base", "adapted"]
ARMS: tuple[Arm, Arm] = ("base", "adapted")
Judge = Literal["scene", "person"]


class Candidate(Config):
    """One of the two checkpoints."""

    path: str  # folder, absolute
    sha256: str  # of its checkpoint.json, which names the weights by their hash


class TrialPlan(Config):
    """Everything about a series but the order; nothing in it tells who drives which trial."""

    format: Literal["diwa-trials"] = "diwa-trials"
    version: Literal[1] = 1
    created: str  # UTC, ISO 8601
    skill: str
    base: Candidate
    adapted: Candidate
    pairs: Annotated[int, pydantic.Field(gt=0)]
    first_seed: Annotated[int, pydantic.Field(ge=0)]  # start i has first_seed + i
    time_limit_s: Annotated[float, pydantic.Field(gt=0)]
    success_threshold: Annotated[float, pydantic.Field(ge=0)]  # above 1: ends no trial
    judge: Judge
    simulated: bool
    order_sha256: str  # of the sealed order: nobody can change it afterwards unseen

    def candidate(self, arm: Arm) -> Candidate:
        """The checkpoint of an arm."""
        return self.base if arm == "base" else self.adapted


class Comparable(NamedTuple):
    """What the two checkpoints have in common."""

    skill: str
    contract: Contract


def inspect_pair(base: Path, adapted: Path) -> Comparable:
    """Check that two checkpoints can be compared: whole, of one skill, under one contract."""
    found = []
    for path in (base, adapted):
        meta = load_weights(path, KIND).meta
        contract = parse_config(Contract, meta["contract"], str(path))
        found.append(Comparable(str(meta["task"]), contract))
    found[0].contract.require_same(found[1].contract, str(base), str(adapted))
    if found[0].skill != found[1].skill:
        raise ConfigError(
            f"{base} and {adapted} are not of one skill",
            got=f"{found[0].skill} and {found[1].skill}",
            hint="compare checkpoints of the same skill",
        )
    return found[0]


def identify(path: Path) -> Candidate:
    """Path and hash of a checkpoint."""
    path = path.expanduser().resolve()
    return Candidate(path=str(path), sha256=sha256_file(path / FILE_NAME))


def require_unchanged(plan: TrialPlan) -> None:
    """Raise `ConfigError` when a checkpoint is not what it was when the series began."""
    for arm in (plan.base, plan.adapted):
        if identify(Path(arm.path)) != arm:
            raise ConfigError(
                f"{arm.path}: another checkpoint than the series began with",
                hint="put the old one back, or begin a new series in another folder",
            )


def draw_order(pairs: int, seed: int | None = None) -> list[Arm]:
    """Which arm goes first in each pair: each in half of them (one more by chance when odd).

    Args:
        pairs: how many.
        seed: for tests; None: from the system's randomness.
    """
    rng = random.Random(secrets.randbits(64) if seed is None else seed)
    first: list[Arm] = ["base", "adapted"] * (pairs // 2)
    if pairs % 2:
        first.append(rng.choice(ARMS))
    rng.shuffle(first)
    return first


def seal(path: Path, order: Sequence[Arm]) -> str:
    """Write the order so that nobody reads it by accident; returns the file's hash."""
    plain = json.dumps({"first": list(order), "salt": secrets.token_hex(16)})
    write_text(path, base64.b64encode(plain.encode()).decode() + "\n")
    return sha256_file(path)


def unseal(path: Path, plan: TrialPlan) -> list[Arm]:
    """The order of a plan.

    Raises:
        ConfigError: the file is missing, or not the one that the plan was made with.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: the sealed order is missing",
            hint="bring the file back; without it the trials done so far mean nothing",
        ) from error
    if hashlib.sha256(data).hexdigest() != plan.order_sha256:
        raise ConfigError(
            f"{path}: not the order that the series began with",
            hint="bring the file back from a backup, or begin a new series",
        )
    plain: dict[str, Any] = json.loads(base64.b64decode(data))
    return list(plain["first"])
