# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The contract: what a robot looks like to learning. Shared by recorder, trainer and server.

It says once which topics become which observation keys, how proprioception is composed, what an
action is, and the control rate. It travels in every bag, dataset and checkpoint.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml

from diwa.config import Config, config_hash, load_config, parse_config
from diwa.errors import ConfigError

PositiveFloat = Annotated[float, pydantic.Field(gt=0)]
Vector3 = tuple[float, float, float]

PROPRIO_SIZES = {
    "position": 3,  # [m], TCP in the base frame
    "rotation_6d": 6,  # first two columns of the TCP's rotation matrix
    "gripper_width": 1,  # [m]
    "arm_joints": 7,  # [rad]
    "gripper_action": 1,  # last commanded gripper: -1 close, +1 open
}
PROPRIO_SOURCES = {
    "pose": {"position", "rotation_6d"},
    "joints": {"gripper_width", "arm_joints"},
}
ProprioPart = Literal["position", "rotation_6d", "gripper_width", "arm_joints", "gripper_action"]


class Stream(Config):
    """One topic that becomes one observation key."""

    kind: Literal["pose", "joints", "scene", "image"]
    topic: str
    type: str
    reliability: Literal["reliable", "best_effort"] = "reliable"
    rate_hz: PositiveFloat | None = None  # as published; none: the contract's rate
    alignment: Literal["asof", "hold", "drop"] = "asof"  # see diwa.data.frames
    tolerance_s: PositiveFloat = 0.05  # oldest sample still used for a frame
    frame_id: str = ""
    names: tuple[str, ...] = ()  # joints: the order of the array
    size: int = 0  # scene: length of the vector
    encoding: str = ""  # image: rgb8, bgr8 ...
    height: int = 0  # image, as published [px]
    width: int = 0
    store: tuple[int, int] | None = None  # image, as stored for training: (height, width) [px]

    @pydantic.model_validator(mode="after")
    def _kind_has_its_fields(self) -> Stream:
        needed = {
            "joints": ("names",),
            "scene": ("size",),
            "image": ("encoding", "height", "width"),
        }
        missing = [name for name in needed.get(self.kind, ()) if not getattr(self, name)]
        if missing:
            raise ValueError(f"a stream of kind {self.kind} needs {', '.join(missing)}")
        return self


class ActionSpec(Config):
    """Relative end-effector action: position, rotation (world XYZ Euler), binary gripper."""

    topic: str = "executed_action"  # empty: none; derived from the end effector's poses
    type: str = "diwa_msgs/msg/ExecutedAction"
    size: Literal[7] = 7
    position_m_per_unit: PositiveFloat = 0.02
    rotation_rad_per_unit: PositiveFloat = 0.05
    gripper_threshold: float = 0.0  # at or above: open
    open_width_m: PositiveFloat = 0.04  # derived actions: fingers that begin wider are open
    neutral: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # before an episode's start


class Workspace(Config):
    """Where the TCP may be, in the base frame of the contract [m]."""

    minimum: Vector3
    maximum: Vector3


class Cadence(Config):
    """How far a topic may fall short of its rate before its episode is flagged."""

    max_loss: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.02  # share of messages that miss
    max_gap_s: PositiveFloat = 0.2  # longest time between two header stamps


class Contract(Config):
    """What a robot looks like to learning; see `config/contracts/`."""

    name: str
    version: Literal[1] = 1
    rate_hz: PositiveFloat
    observations: dict[str, Stream]
    proprio: tuple[ProprioPart, ...]
    action: ActionSpec
    workspace: Workspace
    cadence: Cadence = Cadence()

    @pydantic.model_validator(mode="after")
    def _streams_give_proprio(self) -> Contract:
        reserved = {"action", "proprio", "stamp_ns"} & set(self.observations)
        if reserved:
            raise ValueError(f"observation keys with a meaning of their own: {sorted(reserved)}")
        for kind, parts in PROPRIO_SOURCES.items():
            count = sum(stream.kind == kind for stream in self.observations.values())
            if count > 1 or (count == 0 and parts & set(self.proprio)):
                raise ValueError(f"{count} streams of kind {kind}; this proprio needs one")
        kinds = {stream.kind for stream in self.observations.values()}
        if not self.action.topic and "pose" not in kinds:
            raise ValueError("no topic of actions: they are derived from a pose, but there is none")
        return self

    @property
    def period_ns(self) -> int:
        """Control period in nanoseconds."""
        return round(1e9 / self.rate_hz)

    @property
    def proprio_size(self) -> int:
        """Length of the proprioception vector."""
        return sum(PROPRIO_SIZES[part] for part in self.proprio)

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Observation keys that are images."""
        return tuple(key for key, stream in self.observations.items() if stream.kind == "image")

    @property
    def hash(self) -> str:
        """Short hash of everything in the contract."""
        return config_hash(self)

    def with_derived_actions(self) -> Contract:
        """The same robot, with actions derived from poses; `ConfigError` where there are none."""
        raw = self.model_dump()
        raw["action"]["topic"] = ""
        return parse_config(Contract, raw, f"contract {self.name} with derived actions")

    def require_same(self, other: Contract, mine: str, theirs: str) -> None:
        """Raise `ConfigError` with the difference when `other` is another contract."""
        if self == other:
            return
        difference = difflib.unified_diff(
            self.to_yaml().splitlines(),
            other.to_yaml().splitlines(),
            mine,
            theirs,
            lineterm="",
            n=0,
        )
        raise ConfigError(
            f"{theirs} was made under another contract than {mine}",
            got="\n" + "\n".join(difference),
            hint="use the contract that the data or checkpoint carries, or build it again",
        )

    def require_action_topic(self, who: str) -> str:
        """The topic of executed actions; `ConfigError` when the contract has none.

        Args:
            who: needs it, for the message.
        """
        if not self.action.topic:
            raise ConfigError(
                f"contract {self.name}: action.topic is empty",
                expected=f"the topic of executed actions: {who} needs them while the robot moves",
                hint="deriving actions from poses is for datasets only; publish and name the topic",
            )
        return self.action.topic

    def to_yaml(self) -> str:
        """The contract as YAML text, complete with defaults."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_contract(path: Path) -> Contract:
    """Read a contract file; anything unknown or missing is a `ConfigError`."""
    return load_config(Contract, path)
