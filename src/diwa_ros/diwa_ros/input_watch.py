# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Whether observations can be trusted: silence, stamps that drift apart, still pictures, NaN.

No ROS in here. Ages are compared between stamps, and silence is measured on a steady clock: no
clock of the robot's is compared with one of this machine's.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from diwa.data.contract import PROPRIO_SIZES, Contract
from diwa.data.frames import ACTION, Frame

MOVED_M = 0.02  # an arm that moved this far must be seen to have moved
MANY_BREAKS = 3  # breaks in the frames ...
BREAK_WINDOW_S = 3.0  # ... within this time end a skill
STALL_S = 0.5  # who looks this rarely was kept waiting itself, and messages may wait as well


class _Still(NamedTuple):
    """Since when a camera shows the same picture."""

    picture: np.ndarray
    stamp_ns: int
    position: np.ndarray


class InputWatch:
    """Looks at the messages and frames of one skill.

    Args:
        contract: names the inputs.
        stale_s: longest silence of an input, longest time between the stamps of two inputs, and
            longest gap between two frames [s].
        now_s: on the monotonic clock; silence counts from here.
    """

    def __init__(self, contract: Contract, stale_s: float, now_s: float) -> None:
        self._contract = contract
        self._stale_s = stale_s
        self._stale_ns = round(stale_s * 1e9)
        self._topics = {key: it.topic for key, it in contract.observations.items()}
        self._arrived = dict.fromkeys(self._topics, now_s)
        self._topics[ACTION] = contract.action.topic
        self._looked_s = self._awake_s = now_s
        self._stamps: dict[str, int] = {}
        self._still: dict[str, _Still] = {}
        self._breaks: deque[int] = deque(maxlen=MANY_BREAKS)
        self._newest: int | None = None
        start = sum(PROPRIO_SIZES[part] for part in contract.proprio[: self._position_index()])
        self._position = slice(start, start + 3)

    def _position_index(self) -> int:
        parts = self._contract.proprio
        return parts.index("position") if "position" in parts else len(parts)

    def heard(self, key: str, stamp_ns: int, now_s: float) -> None:
        """A message of `key`, an observation key or "action", arrived."""
        if key != ACTION:
            self._arrived[key] = now_s
            self._stamps.setdefault(ACTION, stamp_ns)
        self._stamps[key] = max(stamp_ns, self._stamps.get(key, stamp_ns))

    def silent(self, now_s: float) -> str:
        """What arrives no more, in words; empty where everything does. To be asked often."""
        if now_s - self._looked_s > STALL_S:
            self._awake_s = now_s
        self._looked_s = now_s
        topics = [
            self._topics[key]
            for key, at in self._arrived.items()
            if now_s - max(at, self._awake_s) > self._stale_s
        ]
        return f"nothing arrives on {', '.join(topics)}" if topics else ""

    def apart(self) -> str:
        """Whose stamps left those of the others behind or stay behind them; empty: nobody's."""
        newest = max(self._stamps.values(), default=0)
        behind = [key for key, at in self._stamps.items() if newest - at > self._stale_ns]
        if not behind:
            return ""
        ahead = [key for key in self._stamps if key not in behind]
        if len(ahead) == 1 and len(behind) > 1:
            lead_s = (newest - max(self._stamps[key] for key in behind)) / 1e9
            return f"stamps on {self._topics[ahead[0]]} are {lead_s:.2f} s ahead of the others"
        topics = ", ".join(self._topics[key] for key in behind)
        return f"stamps on {topics} are more than {self._stale_s:g} s behind the others"

    def frame_problem(self, frame: Frame) -> str:
        """Why a frame must not be acted on, in words; empty where it may."""
        return self._not_finite(frame) or self._break(frame) or self._still_camera(frame)

    def restart(self) -> None:
        """What comes next is another episode."""
        self._breaks.clear()
        self._still.clear()
        self._newest = None

    def _not_finite(self, frame: Frame) -> str:
        values = {**frame.observation, "the executed action": frame.previous_action}
        bad = [
            key
            for key, value in values.items()
            if value.dtype.kind == "f" and not np.isfinite(value).all()
        ]
        return f"numbers that are not finite in {', '.join(bad)}" if bad else ""

    def _break(self, frame: Frame) -> str:
        before, self._newest = self._newest, frame.stamp_ns
        if before is None or not frame.is_first:
            return ""
        gap_s = (frame.stamp_ns - before) / 1e9
        if gap_s < 0:
            return f"the clock of the observations was set back by {-gap_s:.2f} s"
        if gap_s > self._stale_s:
            return f"a gap of {gap_s:.2f} s in the observations: {frame.cause}"
        self._breaks.append(frame.stamp_ns)
        within_s = (frame.stamp_ns - self._breaks[0]) / 1e9
        if len(self._breaks) == MANY_BREAKS and within_s <= BREAK_WINDOW_S:
            return f"{MANY_BREAKS} breaks in the observations in {within_s:.2f} s: {frame.cause}"
        return ""

    def _still_camera(self, frame: Frame) -> str:
        position = frame.observation["proprio"][self._position]
        for key in self._contract.image_keys:
            picture, still = frame.observation[key], self._still.get(key)
            if still is None or not np.array_equal(picture, still.picture):
                self._still[key] = _Still(picture, frame.stamp_ns, position)
                continue
            moved = float(np.abs(position - still.position).max(initial=0.0))
            if frame.stamp_ns - still.stamp_ns > self._stale_ns and moved > MOVED_M:
                return f"the picture on {self._topics[key]} stands still, and the arm moves"
        return ""
