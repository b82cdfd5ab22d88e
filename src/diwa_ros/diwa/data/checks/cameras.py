# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Images compared across episodes: cameras that changed places, pictures that occur twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import cv2
import numpy as np

from diwa.data.checks.episode_view import EpisodeView
from diwa.data.findings import Finding

THUMBNAIL = (8, 8)
SWAPPED = 0.6  # distance to the other cameras' usual pictures, relative to that to the own
FEWEST_BLOCKS = 4
LIVELY = 0.5  # share of frames in a block that differ from the one before


class Block(NamedTuple):
    """About a second of an episode.

    Attributes:
        view: the episode.
        begin: first frame.
        end: one after the last frame.
        means: by image key, (8, 8, 3) uint8, the mean picture.
        prints: by image key, hash of all images, empty where nothing moves in them.
        state: hash of the proprioception.
    """

    view: EpisodeView
    begin: int
    end: int
    means: dict[str, np.ndarray]
    prints: dict[str, bytes]
    state: bytes


def blocks_of(view: EpisodeView) -> list[Block]:
    """An episode in pieces of about a second."""
    size = max(2, round(view.contract.rate_hz))
    blocks = []
    for begin in range(0, max(view.info.length - size // 2, 1), size):
        end = view.info.length if begin + 3 * size // 2 > view.info.length else begin + size
        means, prints = {}, {}
        for key in view.contract.image_keys:
            images = np.ascontiguousarray(view.arrays[key][begin:end])
            mean = images.mean(axis=0, dtype=np.float32)
            small = np.asarray(cv2.resize(mean, THUMBNAIL, interpolation=cv2.INTER_AREA))
            means[key] = small.round().astype(np.uint8)
            lively = (images[1:] != images[:-1]).reshape(len(images) - 1, -1).any(axis=1)
            prints[key] = _print(images) if len(lively) and lively.mean() > LIVELY else b""
        state = _print(view.arrays["proprio"][begin:end])
        blocks.append(Block(view._replace(arrays={}), begin, end, means, prints, state))
    return blocks


def _print(array: np.ndarray) -> bytes:
    """Short hash of an array; there may be hundreds of thousands of them."""
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=12).digest()


def check_cameras(blocks: Sequence[Block]) -> list[Finding]:
    """Everything that shows only when episodes are compared."""
    return [*_check_swapped(blocks), *_check_duplicates(blocks)]


def _check_swapped(blocks: Sequence[Block]) -> list[Finding]:
    """Stretches where two cameras show what the other one usually does."""
    if len(blocks) < FEWEST_BLOCKS:
        return []
    findings = []
    keys = blocks[0].view.contract.image_keys
    usual = {key: np.median([block.means[key] for block in blocks], axis=0) for key in keys}
    for one, other in combinations(keys, 2):
        flags: dict[str, list[Block]] = {}
        for block in blocks:
            pairs = ((one, one), (other, other), (one, other), (other, one))
            far = [float(np.abs(block.means[a] - usual[b]).mean()) for a, b in pairs]
            if far[2] + far[3] < SWAPPED * (far[0] + far[1]):
                flags.setdefault(block.view.info.id, []).append(block)
        for swapped in flags.values():
            view, begin, end = swapped[0].view, swapped[0].begin, swapped[-1].end
            what = f"{one} and {other} have changed places in frames {begin} to {end - 1}"
            expected = "each camera where it is in the rest of the dataset"
            advice = f"see to the cameras' topics; {view.leave_out}"
            findings.append(view.finding("swapped-cameras", other, what, expected, advice))
    return findings


def _check_duplicates(blocks: Sequence[Block]) -> list[Finding]:
    """The same second of moving pictures with two states of the robot.

    With the same state it is the same second: demonstrations may be cut out of play.
    """
    first: dict[tuple[str, bytes], Block] = {}
    copies: dict[tuple[str, str, str], list[Block]] = {}
    for block in blocks:
        for key, digest in block.prints.items():
            origin = first.setdefault((key, digest), block)
            if digest and origin.state != block.state:
                name = (key, block.view.info.id, origin.view.info.id)
                copies.setdefault(name, []).append(block)
    findings = []
    for (key, _, where), found in copies.items():
        view = found[0].view
        frames = [f"{block.begin} to {block.end - 1}" for block in found]
        shown = ", ".join(frames[:3]) + (f" and {len(frames) - 3} more" if len(frames) > 3 else "")
        what = f"frames {shown} are images that are in {where} too"
        findings.append(view.finding("duplicate-images", key, what, "every moment once"))
    return findings
