# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of a made-up robot for tests of what reads them."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from diwa.data.bags import BagWriter, contract_topics
from diwa.data.contract import Contract
from diwa.data.episode import EpisodeRecord
from diwa.data.message_types import typestore_for
from robot_messages import LockstepRobot, rosbags_factory

STEP_NS = 5_000_000  # between receive times


def topics_by_key(contract: Contract) -> dict[str, str]:
    names = {key: stream.topic for key, stream in contract.observations.items()}
    return {**names, "action": contract.action.topic}


def serializer(
    contract: Contract, types: dict[str, str] | None = None
) -> Callable[[str, Any], bytes]:
    """What serialises (key, message); `types` of keys that differ from the contract."""
    kinds = contract_topics(contract)
    by_key = {key: kinds.get(topic, "") for key, topic in topics_by_key(contract).items()}
    by_key |= types or {}
    store = typestore_for({name for name in by_key.values() if name})
    return lambda key, message: bytes(store.serialize_cdr(message, by_key[key]))


def write_bag(
    path: Path,
    contract: Contract,
    messages: Iterable[tuple[str, Any]],
    serialize: Callable[[str, Any], bytes] | None = None,
    extra_topics: dict[str, str] | None = None,
    **record: Any,
) -> Path:
    """A finished episode of (key, message) pairs; a key may also be a topic of `extra_topics`."""
    names = topics_by_key(contract)
    serialize = serialize or serializer(contract)
    writer = BagWriter(path, contract, backend="rosbags", extra_topics=extra_topics)
    for index, (key, message) in enumerate(messages):
        writer.write(names.get(key, key), 10**9 + index * STEP_NS, serialize(key, message))
    facts = {"id": path.name, "kind": "play", "contract": contract, **record}
    writer.close(EpisodeRecord(**facts))
    return path


def lockstep_bag(
    path: Path, contract: Contract, steps: int = 20, seed: int = 0, **record: Any
) -> Path:
    """A bag of a robot that publishes in lockstep."""
    robot = LockstepRobot(contract, rosbags_factory(contract), seed)
    return write_bag(path, contract, robot.run(steps), **record)
