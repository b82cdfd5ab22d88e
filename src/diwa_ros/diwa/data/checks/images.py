# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Images of one episode: blank, frozen, repeated, in the wrong order, or twice the same camera.

What identical images mean depends on the robot: while it stands still they are what a simulated
camera gives; while it moves they are a fault.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

from diwa.data.checks.episode_view import EpisodeView, runs_of
from diwa.data.findings import Finding, frames_text

BLOCK_FRAMES = 512
FROZEN_FRAMES = 5
FROZEN_M = 0.03  # the TCP has gone so far while the image stayed the same
MOVING_M_PER_S = 0.05
REPEATED_SHARE = 0.10  # more repeated images than the camera's rate explains
REPEATED_FRAMES = 10
BLANK_FRAMES = 3
SAME_CAMERA = 3.0  # grey levels between two cameras that show the same
SMOOTH = 1.6  # of a straight way: two steps are longer than one by about 2
ORDER_STEP_M = 0.006  # over three frames


class Changes(NamedTuple):
    """How much the image differs, in grey levels averaged over pixels.

    Attributes:
        one: (T-1,) float32, from a frame to the next.
        two: (T-2,) float32, from a frame to the next but one.
        blank: (T,) bool, all pixels have the same value.
    """

    one: np.ndarray
    two: np.ndarray
    blank: np.ndarray


def check_images(view: EpisodeView) -> list[Finding]:
    """All cameras of an episode."""
    position = view.part("position")
    findings = []
    for key in view.contract.image_keys:
        changes = changes_of(view.arrays[key])
        findings += _check_blank(view, key, changes)
        if position is not None:
            findings += _check_frozen(view, key, changes, position)
            findings += _check_order(view, key, changes, position)
    return [*findings, *_check_same_camera(view)]


def changes_of(images: np.ndarray) -> Changes:
    """Compare each of (T, h, w, 3) uint8 with the two that follow."""
    one, two, blank = [], [], []
    for start in range(0, len(images), BLOCK_FRAMES):
        block = images[start : start + BLOCK_FRAMES + 2].reshape(-1, images[0].size)
        count = min(BLOCK_FRAMES, len(images) - start)
        one.append(distances(block[: count + 1][:-1], block[1 : count + 1]))
        two.append(distances(block[:-2][:count], block[2:][:count]))
        blank.append(block[:count].min(axis=1) == block[:count].max(axis=1))
    return Changes(np.concatenate(one), np.concatenate(two), np.concatenate(blank))


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each row of two (n, pixels) uint8: (n,) float64."""
    if not len(one):
        return np.empty(0)
    return np.asarray(cv2.absdiff(one, other).mean(axis=1))


def _check_blank(view: EpisodeView, key: str, changes: Changes) -> list[Finding]:
    blank = np.flatnonzero(changes.blank)
    if len(blank) < BLANK_FRAMES:
        return []
    what = f"{len(blank)} of {view.info.length} images have one colour only: {frames_text(blank)}"
    return [view.finding("blank-images", key, what, "pictures of the scene; see to the camera")]


def _check_frozen(
    view: EpisodeView, key: str, changes: Changes, position: np.ndarray
) -> list[Finding]:
    """Long stretches of one image, and many short ones, while the arm moves."""
    same = changes.one == 0
    findings = []
    for begin, end in runs_of(same):
        moved = np.linalg.norm(position[begin : end + 1] - position[begin], axis=1).max()
        if end - begin + 1 >= FROZEN_FRAMES and moved >= FROZEN_M:
            same[begin:end] = False  # counted here, not as repeated
            what = f"frames {begin} to {end} are one image while the TCP moves {moved:.3g} m"
            advice = f"see to the camera's driver and cable; {view.leave_out}"
            findings.append(
                view.finding("frozen-camera", key, what, "a new image for every frame", advice)
            )
    speed = np.linalg.norm(np.diff(position, axis=0), axis=1) * view.contract.rate_hz
    moving = speed > MOVING_M_PER_S
    repeated = np.flatnonzero(same & moving)
    rate = view.contract.observations[key].rate_hz or view.contract.rate_hz
    allowed = 1 - min(1.0, rate / view.contract.rate_hz) + REPEATED_SHARE
    share = len(repeated) / max(int(moving.sum()), 1)
    if len(repeated) >= REPEATED_FRAMES and share > allowed:
        what = f"{share:.0%} of the images are the one before although the arm moves:"
        advice = "see that the camera holds its rate, or put its true rate_hz into the contract"
        findings.append(
            view.finding(
                "repeated-images",
                key,
                f"{what} {frames_text(repeated + 1)}",
                f"at most {allowed:.0%} at {rate:g} Hz",
                advice,
            )
        )
    return findings


def _check_order(
    view: EpisodeView, key: str, changes: Changes, position: np.ndarray
) -> list[Finding]:
    """Two neighbouring images exchanged, on a straight piece of the arm's way.

    Of images a, c, b, d the first and third, and the second and fourth, are closer to each other
    than neighbours are. Only clear cases count.
    """
    found = exchanged(changes, position)
    if not len(found):
        return []
    what = f"images stand in the wrong order: exchanged are {frames_text(found)} and the next"
    expected = "images in the order in which they were taken"
    return [view.finding("image-order", key, what, expected)]


def exchanged(changes: Changes, position: np.ndarray) -> np.ndarray:
    """First of each two neighbouring images that stand in each other's place: (n,) int."""
    if len(position) < 6:
        return np.empty(0, dtype=np.int64)
    first = np.arange(1, len(position) - 4)  # the frame before the two
    ac, cb, bd = changes.one[first], changes.one[first + 1], changes.one[first + 2]
    ab, cd = changes.two[first], changes.two[first + 1]
    steady = np.stack([changes.one[first - 1], ab, cb, cd, changes.one[first + 3]])
    clear = (ab < 0.75 * ac) & (cd < 0.75 * bd) & (np.minimum(ac, bd) > 1.25 * cb)
    clear &= steady.max(axis=0) < 2.0 * steady.min(axis=0)
    step = np.linalg.norm(np.diff(position, axis=0), axis=1)
    two = np.linalg.norm(position[2:] - position[:-2], axis=1)
    three = np.linalg.norm(position[3:] - position[:-3], axis=1)
    smooth = two[first] + two[first + 1] > SMOOTH * (step[first] + step[first + 2])
    return np.asarray(first[clear & smooth & (three[first] > ORDER_STEP_M)] + 1)


def _check_same_camera(view: EpisodeView) -> list[Finding]:
    """Two keys that show the same picture all the time."""
    findings = []
    sample = np.unique(np.linspace(0, view.info.length - 1, 20).astype(int))
    for one, other in combinations(view.contract.image_keys, 2):
        pairs = zip(view.arrays[one][sample], view.arrays[other][sample], strict=True)
        apart = [_picture_distance(a, b) for a, b in pairs]
        if np.median(apart) < SAME_CAMERA and view.arrays[one][sample].std() > SAME_CAMERA:
            what = f"shows the same as {one}"
            advice = f"see that each topic has its own camera; {view.leave_out}"
            findings.append(view.finding("same-camera", other, what, "another view", advice))
    return findings


def _picture_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Grey levels between two images of any size."""
    if one.shape != other.shape:
        size = (other.shape[1], other.shape[0])
        one = np.asarray(cv2.resize(one, size, interpolation=cv2.INTER_AREA))
    return float(cv2.absdiff(one, other).mean())
