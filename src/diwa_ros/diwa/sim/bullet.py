# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One PyBullet world without a window: a client whose calls always name their world."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def silent_output() -> Iterator[None]:
    """Send what C code prints (file descriptors 1 and 2) to nowhere; exceptions still pass."""
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    sys.stderr.flush()
    libc.fflush(None)
    kept = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        yield
    finally:
        libc.fflush(None)
        for descriptor, original in zip(kept, (1, 2), strict=True):
            os.dup2(descriptor, original)
            os.close(descriptor)
        os.close(nowhere)


with silent_output():  # PyBullet prints its build time on import
    import pybullet


class Bullet:
    """PyBullet's functions, bound to a world of its own.

    Two worlds in one process are independent as long as every call says which one it means.
    """

    def __init__(self) -> None:
        with silent_output():
            self.client_id: int = pybullet.connect(pybullet.DIRECT)

    def __getattr__(self, name: str) -> Any:
        value = getattr(pybullet, name)
        if callable(value):
            value = functools.partial(value, physicsClientId=self.client_id)
        setattr(self, name, value)  # looked up once
        return value

    def close(self) -> None:
        """Free the world; closing twice is fine."""
        if self.client_id >= 0:
            pybullet.disconnect(physicsClientId=self.client_id)
            self.client_id = -1
