# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""From one chunk to the next without a jump: late steps, cross-fades and the gripper's vote.

A chunk was computed from an observation; when it arrives, some control steps may have passed since.
Its first steps are skipped only as far as actions were really executed in their place: a chunk that
comes while the arm holds begins at its first action, however late it is. Nothing is estimated from
latencies, so a slow first inference skips nothing either. A single action, as a person sends it, is
meant for now and never late.

Actions are relative: each refers to the pose that the one before it led to. So a cross-fade happens
between the poses that the old and the new chunk lead through, never between their actions.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from diwa.control.poses import integrate_action, make_pose, normalized, relative_motion
from diwa.data.contract import ActionSpec

REMEMBERED = 256  # executed steps; a chunk from an observation older than these is refused
PARALLEL = 1 - 1e-9  # of the cosine between two quaternions: closer ones are mixed linearly


class ChunkSchedule:
    """Holds what is left of the newest chunk and hands it out, one action per control step.

    Args:
        spec: units of an action.
        period_ns: of the control steps.
        fade_steps: steps over which a chunk that interrupts another one takes over; 0: at once.

    Attributes:
        discarded: chunks that were refused.
        late_steps: steps of chunks that were skipped, as others had been executed in their place.
    """

    def __init__(self, spec: ActionSpec, period_ns: int, fade_steps: int = 0) -> None:
        self.discarded = 0
        self.late_steps = 0
        self._spec = spec
        self._slack = period_ns // 2
        self._fade_steps = fade_steps
        self._actions: deque[np.ndarray] = deque()
        self._executed: deque[int] = deque(maxlen=REMEMBERED)  # stamps of steps with an action
        self._epoch = 0
        self._newest: tuple[int, int] | None = None  # stamp, sequence
        self._gripper: float | None = None  # last one handed out

    @property
    def epoch(self) -> int:
        """Chunks of any other epoch are refused."""
        return self._epoch

    def push(
        self,
        chunk: np.ndarray,
        stamp_ns: int,
        epoch: int,
        sequence: int,
        desired: np.ndarray | None = None,
    ) -> bool:
        """Take a chunk; false when it is refused, and then what was there goes on.

        Args:
            chunk: (Ta, 7) actions; their values are the safety filter's affair.
            stamp_ns: stamp of the observation it was computed from [ns].
            epoch: episode epoch it was made for.
            sequence: the sender's count; orders chunks from the same observation.
            desired: (7,) pose that the next action will be added to; None: no cross-fade.
        """
        chunk = np.asarray(chunk, dtype=np.float32)
        if not self._fits(chunk, stamp_ns, epoch, sequence):
            self.discarded += 1
            return False
        late = self._late(chunk, stamp_ns)
        if late >= len(chunk):
            self.discarded += 1
            return False
        self._newest = (stamp_ns, sequence)
        self.late_steps += late
        rest = list(chunk[late:].copy())
        if desired is not None and self._fade_steps > 1:
            rest = self._faded(list(self._actions), rest, desired)
        self._actions = deque(rest)
        return True

    def pop(self, stamp_ns: int) -> np.ndarray | None:
        """The action (7,) float32 for the control step at `stamp_ns`, or None: hold."""
        if not self._actions:
            return None
        self._executed.append(stamp_ns)
        action = self._actions.popleft()
        self._gripper = self._side(action[6])
        return action

    def set_epoch(self, epoch: int) -> None:
        """Begin another episode: what is held, and whatever still arrives for others, is void."""
        self._epoch = epoch
        self._newest = None
        self._executed.clear()
        self._actions.clear()
        self._gripper = None

    def flush(self) -> None:
        """Drop what is held; chunks older than it stay refused."""
        self._actions.clear()

    def __len__(self) -> int:
        return len(self._actions)

    def _fits(self, chunk: np.ndarray, stamp_ns: int, epoch: int, sequence: int) -> bool:
        if chunk.ndim != 2 or chunk.shape[0] == 0 or chunk.shape[1] != self._spec.size:
            return False
        if epoch != self._epoch:
            return False
        if len(self._executed) == REMEMBERED and stamp_ns < self._executed[0]:
            return False
        return self._newest is None or (stamp_ns, sequence) > self._newest

    def _late(self, chunk: np.ndarray, stamp_ns: int) -> int:
        """Actions that were executed in place of the first ones of `chunk`."""
        if len(chunk) == 1:
            return 0
        return sum(executed >= stamp_ns - self._slack for executed in self._executed)

    def _side(self, gripper: float) -> float:
        return 1.0 if gripper >= self._spec.gripper_threshold else -1.0

    def _faded(
        self, old: list[np.ndarray], new: list[np.ndarray], desired: np.ndarray
    ) -> list[np.ndarray]:
        """`new`, whose first poses lie between those of `old` and its own."""
        count = min(self._fade_steps, len(old), len(new))
        values = (*old[:count], *new[:count], desired)
        if count < 2 or not all(np.isfinite(value).all() for value in values):
            return new
        before = from_old = from_new = np.asarray(desired, dtype=np.float64)
        faded = []
        for step in range(count):
            from_old = integrate_action(from_old, old[step], self._spec)
            from_new = integrate_action(from_new, new[step], self._spec)
            pose = mixed_pose(from_old, from_new, (step + 1) / count)
            gripper = self._vote(old[step][6], new[step][6])
            motion = relative_motion(before, pose, self._spec)
            faded.append(np.array([*motion, gripper], dtype=np.float32))
            before = pose
        return faded + new[count:]

    def _vote(self, old: float, new: float) -> float:
        """Majority of the two chunks and of what the gripper was told last."""
        votes = [self._side(old), self._side(new)]
        votes.append(votes[1] if self._gripper is None else self._gripper)
        return 1.0 if sum(votes) > 0 else -1.0


def mixed_pose(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """The pose (7,) at `share` in [0, 1] of the way: positions linear, rotations slerp."""
    position = (1 - share) * first[:3] + share * second[:3]
    start, end = normalized(first[3:]), normalized(second[3:])
    cosine = float(start @ end)
    if cosine < 0:
        end, cosine = -end, -cosine
    if cosine > PARALLEL:
        return make_pose(position, (1 - share) * start + share * end)
    angle = np.arccos(cosine)
    turned = np.sin((1 - share) * angle) * start + np.sin(share * angle) * end
    return make_pose(position, turned)
