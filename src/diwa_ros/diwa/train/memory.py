# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a span of work: this process and its children, sampled by a light thread."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Measures the resident memory's peak [bytes] between `__enter__` and `__exit__`.

    Pages of memory-mapped files count while they are resident. The own process's peak is exact
    where the kernel keeps one (Linux), so that a short spike between two samples is not missed;
    what its children hold at a sample is added to it, which may be a little too much.

    Args:
        interval: seconds between samples.
        on_sample: called in the sampling thread after every sample.
    """

    def __init__(self, interval: float = 0.5, on_sample: Callable[[], None] = lambda: None) -> None:
        self._interval = interval
        self._on_sample = on_sample
        self._process = psutil.Process()
        self._peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_ended, daemon=True)

    @property
    def bytes(self) -> int:
        """The peak so far."""
        return self._peak

    def __enter__(self) -> PeakMemory:
        with contextlib.suppress(OSError):
            _CLEAR_REFS.write_text("5")  # start the kernel's peak anew
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def _sample_until_ended(self) -> None:
        while not self._ended.wait(self._interval):
            self._sample()
            self._on_sample()

    def _sample(self) -> None:
        children = 0
        with contextlib.suppress(psutil.Error):
            for child in self._process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    children += child.memory_info().rss
        own = max(self._process.memory_info().rss, _own_peak())
        self._peak = max(self._peak, own + children)


def _own_peak() -> int:
    """The kernel's peak of this process since it was last started anew, 0 where it has none."""
    try:
        match = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.M)
    except OSError:
        return 0
    return int(match.group(1)) * 1024 if match else 0


def peak_gpu_bytes() -> int | None:
    """Peak of the memory that torch allocated on the GPU since `reset_gpu_peak`; None: no GPU."""
    cuda = sys.modules.get("torch.cuda")  # absent or half imported: no GPU in use yet
    is_initialized = getattr(cuda, "is_initialized", None)
    if cuda is None or is_initialized is None or not is_initialized():
        return None
    return int(cuda.max_memory_allocated())


def reset_gpu_peak() -> None:
    """Start the GPU's peak anew."""
    if peak_gpu_bytes() is not None:
        sys.modules["torch.cuda"].reset_peak_memory_stats()
