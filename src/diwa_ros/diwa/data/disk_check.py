# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Before a recording: is there room on the disk, and is it fast enough?"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from diwa.data.contract import Contract
from diwa.data.episode_cadence import expected_rates
from diwa.data.robot_check import Level, Row

SMALL_BYTES = 400  # of a message that is no image, with its share of the file
SPARE = 2.0  # the disk must be this much faster than the data
SCARCE_S, LITTLE_S = 600.0, 3600.0  # room on the disk that is wrong, or worth a word
TRIAL_BYTES = 16_000_000


def check_disk(
    contract: Contract, folder: Path, min_free_bytes: float = 0.0, trial_bytes: int = TRIAL_BYTES
) -> list[Row]:
    """Room and speed of the disk that the bags go to.

    Args:
        contract: says how much data there is.
        folder: for the bags; need not exist.
        min_free_bytes: space that has to stay free.
        trial_bytes: written to measure the speed.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    rate = expected_byte_rate(contract)
    free = shutil.disk_usage(existing).free - min_free_bytes
    room_s = max(free, 0) / rate
    found = f"room for {room_s / 3600:.1f} h at {rate / 1e6:.1f} MB/s"
    todo = f"free some space, or record to another disk than that of {existing.absolute()}"
    level: Level = "wrong" if room_s < SCARCE_S else "unsure" if room_s < LITTLE_S else "ok"
    rows = [Row("disk", level, found, todo if level != "ok" else "")]
    if free < trial_bytes:
        return rows
    try:
        speed = write_speed(existing, trial_bytes)
    except OSError as error:
        todo = f"make {existing.absolute()} writable for this user, or give another folder"
        return [*rows, Row("disk", "wrong", f"cannot be written to: {error.strerror}", todo)]
    found = f"writes {speed / 1e6:.0f} MB/s"
    if speed < SPARE * rate:
        todo = f"record to a faster disk: {rate / 1e6:.1f} MB/s come in"
        return [*rows, Row("disk", "wrong", found, todo)]
    return [*rows, Row("disk", "ok", found)]


def expected_byte_rate(contract: Contract) -> float:
    """Data that a recording takes [B/s], with images as they are published without compression."""
    rates = expected_rates(contract)
    total = 0.0
    for stream in contract.observations.values():
        pixels = stream.height * stream.width * (1 if stream.encoding == "mono8" else 3)
        total += (rates[stream.topic] or contract.rate_hz) * (SMALL_BYTES + pixels)
    return total + rates.get(contract.action.topic, 0.0) * SMALL_BYTES


def write_speed(folder: Path, size: int) -> float:
    """Speed of writing `size` bytes through to the disk [B/s]."""
    block = os.urandom(1 << 20)
    start = time.perf_counter()
    with tempfile.TemporaryFile(dir=folder) as stream:
        for _ in range(max(size >> 20, 1)):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    return max(size >> 20, 1) * len(block) / (time.perf_counter() - start)
