# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Following waypoints with relative actions, from observations alone, in a person's many ways.

Poses here are (6,): position [m] and world XYZ Euler angles [rad].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diwa.control.filter import shorten_to_leash, shortened
from diwa.control.poses import euler_from_quaternion, wrap_angle
from diwa.data.contract import ActionSpec

OPEN, CLOSED = 1.0, -1.0
ARRIVED_M, ARRIVED_RAD = 0.006, 0.03
TURN_LIMIT = 0.8  # of a unit, before noise
LEASH_M = 0.045  # a little shorter than the safety filter's, which then has nothing to do
FOLLOW = np.array([0.46] * 3 + [0.56] * 3)  # share of the way to its target in one step, fitted
CORRECTION = 0.1  # share of an unexpected motion taken as an error of the estimated target
PATIENCE = 20  # steps that a waypoint may take beyond twice the time expected


@dataclass(frozen=True)
class SkillStyle:
    """How a skill is carried out; `sample` draws one as different people would move.

    Attributes:
        speed: of the desired TCP position, 1 is 0.6 m/s.
        noise: standard deviation on each position action.
        turn_noise: share of `noise` on each rotation action.
        approach: (x, y, z) offset of the points in free space [m].
        lateral: where along a handle or button it is touched, -1 to 1.
        yaw: turn of the gripper about the vertical [rad].
        effort: how far a joint is moved, from just enough (0) to its end (1).
        push: push the slider's handle with closed fingers instead of grasping it.
        pause: probability to rest at a point in free space.
    """

    speed: float = 0.7
    noise: float = 0.0
    turn_noise: float = 0.3
    approach: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lateral: float = 0.0
    yaw: float = 0.0
    effort: float = 1.0
    push: bool = False
    pause: float = 0.0

    @classmethod
    def sample(cls, rng: np.random.Generator, *, noise: float | None = None) -> SkillStyle:
        """A random style; `noise` fixes the noise."""
        x, y, z = rng.uniform((-0.03, -0.02, -0.01), (0.03, 0.01, 0.05)).tolist()
        return cls(
            speed=float(rng.uniform(0.45, 1.0)),
            noise=float(rng.uniform(0.0, 0.25)) if noise is None else noise,
            approach=(x, y, z),
            lateral=float(rng.uniform(-1.0, 1.0)),
            yaw=float(rng.uniform(-0.15, 0.15)),
            effort=float(min(1.0, rng.uniform(0.0, 1.6))),
            push=bool(rng.random() < 0.4),
            pause=float(rng.choice([0.0, 0.15, 0.4])),
        )


@dataclass(frozen=True)
class Waypoint:
    """A pose (6,) to reach, the gripper on the way, and what to do there."""

    pose: np.ndarray
    gripper: float
    dwell: int = 0  # steps to stay
    contact: bool = False  # the way there may touch something


class TargetEstimate:
    """The desired pose that the robot integrates, known only from one's own actions.

    An action that was lost or changed on its way would leave a lasting error. In free space the
    arm tells: it moves towards the true target, so what it does beyond expectation corrects it.
    """

    def __init__(self, measured: np.ndarray, spec: ActionSpec) -> None:
        self._spec = spec
        self._measured = measured.copy()
        self.pose = measured.copy()

    def observe(self, measured: np.ndarray, *, free: bool) -> np.ndarray:
        """Take a measured pose (6,); returns the estimate (6,)."""
        if free:
            expected = self._measured + FOLLOW * _difference(self.pose, self._measured)
            self.pose = _wrapped(self.pose + CORRECTION * _difference(measured, expected))
        self._measured = measured.copy()
        return self.pose

    def apply(self, action: np.ndarray) -> None:
        """An action (7,) is on its way to the robot."""
        self.pose[:3] += self._spec.position_m_per_unit * action[:3]
        self.pose[3:] += self._spec.rotation_rad_per_unit * action[3:6]
        self.pose = _wrapped(self.pose)


class WaypointFollower:
    """Goes through waypoints one by one, with a style's speed, noise and pauses."""

    def __init__(
        self,
        waypoints: list[Waypoint],
        style: SkillStyle,
        rng: np.random.Generator,
        spec: ActionSpec,
    ) -> None:
        self._waypoints = waypoints
        self._style = style
        self._rng = rng
        self._spec = spec
        self._index = 0
        self._steps_left: int | None = None
        self._segment_start = np.zeros(6)
        self._rest = 0

    @property
    def finished(self) -> bool:
        """All waypoints are behind."""
        return self._index >= len(self._waypoints)

    @property
    def in_contact(self) -> bool:
        """The present way may touch something."""
        return not self.finished and self._waypoints[self._index].contact

    def act(self, target: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """The next action (7,) float32 from desired and measured pose (6,)."""
        self._advance(target)
        waypoint = self._waypoints[min(self._index, len(self._waypoints) - 1)]
        action = np.zeros(7)
        action[6] = waypoint.gripper
        if self._rest > 0 or self.finished:
            self._rest -= 1
            return action.astype(np.float32)
        action[:6] = self._motion(target, waypoint)
        scale = self._style.noise * np.array([1.0] * 3 + [self._style.turn_noise] * 3)
        action[:6] += scale * self._rng.normal(size=6)
        action = np.clip(action, -1.0, 1.0)
        unit = self._spec.position_m_per_unit
        action[:3] = shorten_to_leash(action[:3] * unit, target[:3] - measured[:3], LEASH_M) / unit
        return action.astype(np.float32)

    def _motion(self, target: np.ndarray, waypoint: Waypoint) -> np.ndarray:
        """Straight to the waypoint; near things, back to the straight way first."""
        difference = _difference(waypoint.pose, target)
        unit = self._spec.position_m_per_unit
        fastest = self._style.speed * unit
        ahead = difference[:3]
        line = waypoint.pose[:3] - self._segment_start[:3]
        length = float(np.linalg.norm(line))
        if waypoint.contact and length > ARRIVED_M:
            along = float(ahead @ line) / length * line / length
            aside = ahead - along
            ahead = aside + shortened(along, fastest)
        turn = difference[3:] / self._spec.rotation_rad_per_unit
        return np.concatenate(
            [shortened(ahead, fastest) / unit, np.clip(turn, -TURN_LIMIT, TURN_LIMIT)]
        )

    def _advance(self, target: np.ndarray) -> None:
        """Go on to the next waypoint when this one is reached, or takes too long."""
        if self.finished or self._rest > 0:
            return
        waypoint = self._waypoints[self._index]
        difference = _difference(waypoint.pose, target)
        if self._steps_left is None:
            self._steps_left = self._expected_steps(difference)
            self._segment_start = target.copy()
        self._steps_left -= 1
        near = (
            np.linalg.norm(difference[:3]) < ARRIVED_M
            and np.abs(difference[3:]).max() < ARRIVED_RAD
        )
        if not near and self._steps_left > 0:
            return
        self._index += 1
        self._steps_left = None
        self._rest = waypoint.dwell
        if not waypoint.contact and self._rng.random() < self._style.pause:
            self._rest += int(self._rng.integers(3, 20))

    def _expected_steps(self, difference: np.ndarray) -> int:
        move = np.linalg.norm(difference[:3]) / (self._spec.position_m_per_unit * self._style.speed)
        turn = np.abs(difference[3:]).max() / (self._spec.rotation_rad_per_unit * TURN_LIMIT)
        return int(2 * max(move, turn)) + PATIENCE


def measured_pose(robot_obs: np.ndarray) -> np.ndarray:
    """TCP pose (6,) float64 of a robot observation (15,)."""
    return np.asarray(robot_obs[:6], dtype=np.float64)


def pose_from_target(target_pose: np.ndarray) -> np.ndarray:
    """Pose (6,) float64 of a pose (7,) with a quaternion."""
    return np.concatenate([target_pose[:3], euler_from_quaternion(target_pose[3:])])


def _difference(goal: np.ndarray, pose: np.ndarray) -> np.ndarray:
    return np.concatenate([goal[:3] - pose[:3], wrap_angle(goal[3:] - pose[3:])])


def _wrapped(pose: np.ndarray) -> np.ndarray:
    return np.concatenate([pose[:3], wrap_angle(pose[3:])])
