# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Do actions and motion belong together?

`action[t]` is executed between frames t and t+1, so the TCP's way from t to t+1 goes with it: at
once, or as late as the arm's controller lags. The cross-correlation of both, over lags of the
motion behind the action, has its peak there; anywhere else, one of them is displaced. The gripper
tells it to the frame, since proprioception carries the last gripper action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diwa.data.checks.episode_view import EpisodeView
from diwa.data.findings import Finding
from diwa.data.manifest import MANIFEST

LAG_S = 0.3  # of a controller, at most
SEARCH_S = 0.5  # lags that are looked at, either way
STILL_M = 0.0003  # motion per frame that says nothing
FEWEST_FRAMES = 25
LITTLE = 0.3  # correlation below which motion does not follow the actions
AGAINST = -0.3
# A peak elsewhere counts when it leaves so much less of the motion unexplained; more in short ones.
CLEAR_RATIO, CLEAR_FRAMES = 1.5, 15.0
LEAST_UNEXPLAINED = 1e-3
GRIPPER_LAGS = 8
AXES = "xyz"


class Motion(NamedTuple):
    """Sums of one episode from which correlations follow; they add up over episodes.

    Attributes:
        view: the episode, without its arrays.
        frames: that were compared.
        products: (2L+1, 3) float64, action times motion, by lag from -L and by axis.
        actions: (2L+1, 3), squares of the actions that were compared.
        motions: (2L+1, 3), squares of the motions, in units of the action.
    """

    view: EpisodeView
    frames: int
    products: np.ndarray
    actions: np.ndarray
    motions: np.ndarray


def motion_of(view: EpisodeView) -> Motion | None:
    """Compare actions with the way of the TCP; None where there is too little of either."""
    position = view.part("position")
    if position is None:
        return None
    lags = _lags(view)
    motion = np.diff(position, axis=0) / view.contract.action.position_m_per_unit
    action = np.clip(view.arrays["action"][:-1, :3], -1, 1).astype(np.float64)
    still = STILL_M / view.contract.action.position_m_per_unit
    moving = min((np.abs(part).max(axis=1) > still).sum() for part in (action, motion))
    if moving < FEWEST_FRAMES or len(action) <= 2 * lags:
        return None
    sums = []
    for lag in range(-lags, lags + 1):
        late, early = max(lag, 0), max(-lag, 0)
        x = action[early : len(action) - late]
        y = motion[late : len(motion) - early]
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        sums.append(np.stack([(x * y).sum(axis=0), (x * x).sum(axis=0), (y * y).sum(axis=0)]))
    products, actions, motions = np.stack(sums, axis=1)
    return Motion(view._replace(arrays={}), len(action), products, actions, motions)


def check_motion(folder: str, motions: Sequence[Motion]) -> list[Finding]:
    """All episodes together, then each against the others."""
    if not motions:
        return []
    total = [np.sum([getattr(m, name) for m in motions], axis=0) for name in Motion._fields[2:]]
    lags = _lags(motions[0].view)
    causal = int(LAG_S * motions[0].view.contract.rate_hz)
    reversed_axes = _check_axes(folder, [part[lags : lags + causal + 1] for part in total])
    if reversed_axes:
        return reversed_axes
    usual = _usual_lag(motions)
    problem = ""
    highest = _correlation(*total).max()
    if highest < LITTLE:
        problem = f"the TCP does not move as the actions say: correlation {highest:.2f}"
    elif not 0 <= usual <= causal:
        problem = f"the TCP moves {_frames(usual)} the actions"
    if problem:
        return [
            Finding(
                check="misaligned",
                file=MANIFEST,
                what=problem,
                expected=f"motion 0 to {LAG_S:g} s behind the action",
                advice="see to the stamps of action and pose, and build the dataset again",
            )
        ]
    return [item for motion in motions for item in _check_episode(motion, usual, lags)]


def _usual_lag(motions: Sequence[Motion]) -> int:
    """Lag of the peak in most episodes: their median, long episodes counting more [frames]."""
    peaks = []
    for motion in motions:
        curve = _correlation(motion.products, motion.actions, motion.motions)
        peaks.append((int(curve.argmax()) - len(curve) // 2, motion.frames))
    peaks.sort()
    passed = np.cumsum([frames for _, frames in peaks])
    return peaks[int(np.searchsorted(passed, passed[-1] / 2))][0]


def check_gripper(view: EpisodeView) -> list[Finding]:
    """The last gripper action in proprioception is that of the frame before."""
    known = view.part("gripper_action")
    if known is None:
        return []
    told = np.sign(view.arrays["action"][:-1, 6])  # of frames 0 .. T-2
    seen = np.sign(known[1:, 0])  # of frames 1 .. T-1: the same, if all is well
    wrong = {
        lag: int(
            (
                told[max(-lag, 0) : len(told) - max(lag, 0)]
                != seen[max(lag, 0) : len(seen) - max(-lag, 0)]
            ).sum()
        )
        for lag in range(-min(GRIPPER_LAGS, len(told) - 1), min(GRIPPER_LAGS, len(told) - 1) + 1)
    }
    best = min(wrong, key=lambda lag: (wrong[lag], abs(lag)))
    if best == 0 or wrong[0] < 2 or wrong[best] > wrong[0] // 2:
        return []
    what = f"the gripper is known {_frames(best)} its actions"
    advice = f"build the episode again from its bag, or {view.leave_out}"
    expected = "proprio[t] holds the gripper part of action[t-1]"
    return [view.finding("misaligned", "action", what, expected, advice)]


def _check_axes(folder: str, total: Sequence[np.ndarray]) -> list[Finding]:
    """Axes along which the motion goes with the opposite of the action, at the lags of a robot."""
    products, actions, motions = total
    curves = products / np.maximum(np.sqrt(actions * motions), 1e-12)
    return [
        Finding(
            check="misaligned",
            file=MANIFEST,
            what=f"the TCP moves against the actions along {name}",
            expected="actions in the frame of the pose",
            advice=f"correct the frame of the actions and build {folder} again",
        )
        for name, curve in zip(AXES, curves.T, strict=True)
        if curve.min() < AGAINST and -curve.min() > 1.5 * curve.max()
    ]


def _check_episode(motion: Motion, usual: int, lags: int) -> list[Finding]:
    """An episode whose peak is clearly elsewhere than that of all together."""
    curve = _correlation(motion.products, motion.actions, motion.motions)
    best = int(curve.argmax()) - lags
    unexplained = np.maximum(1 - np.square(np.clip(curve, 0, 1)), LEAST_UNEXPLAINED)
    clear = CLEAR_RATIO + CLEAR_FRAMES / motion.frames
    ratio = float(unexplained[usual + lags] / unexplained[best + lags])
    if best == usual or ratio < clear or curve.max() < LITTLE:
        return []
    what = f"the TCP moves {_frames(best)} the actions"
    expected = f"as in the other episodes: {_frames(usual)} them"
    view = motion.view
    advice = f"build the episode again from its bag, or {view.leave_out}"
    severity = "error" if abs(best - usual) > 1 or best < 0 else "warning"
    return [view.finding("misaligned", "action", what, expected, advice, severity)]  # type: ignore[arg-type]


def _correlation(products: np.ndarray, actions: np.ndarray, motions: np.ndarray) -> np.ndarray:
    """Correlation by lag (2L+1,), over the three axes together."""
    scale = np.sqrt(actions.sum(axis=1) * motions.sum(axis=1))
    return np.asarray(products.sum(axis=1) / np.maximum(scale, 1e-12))


def _frames(lag: int) -> str:
    if lag == 0:
        return "with"
    return f"{abs(lag)} frame{'s' * (abs(lag) > 1)} {'after' if lag > 0 else 'before'}"


def _lags(view: EpisodeView) -> int:
    return max(1, round(SEARCH_S * view.contract.rate_hz))
