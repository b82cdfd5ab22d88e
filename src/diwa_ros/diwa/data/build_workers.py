# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Bags converted by several processes, which end with the one that they work for."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from diwa.data.build_report import BagReport
from diwa.data.contract import Contract
from diwa.data.convert import Tick, convert_bag
from diwa.errors import ConfigError

POLL_S = 0.5  # how often the parent looks how far the workers are

Converted = tuple[Path, BagReport | ConfigError]


def try_convert(bag: Path, out: Path, contract: Contract, tick: Tick) -> BagReport | ConfigError:
    """`convert_bag`, with its error as a result."""
    try:
        return convert_bag(bag, out, contract, tick)
    except ConfigError as error:
        return error


def convert_in_processes(
    bags: list[Path], out: Path, contract: Contract, workers: int
) -> Iterator[tuple[int, Converted | None]]:
    """Convert in `workers` processes; when the caller stops, no new bag is begun.

    Yields:
        Seconds of recordings done since the last time, and a bag with its report or error; None
        now and then while there is nothing new.
    """
    # Not forked: this process may have threads (ROS, torch) whose locks a fork would copy.
    context = multiprocessing.get_context("spawn")
    shared = context.Value("q", 0)
    count = min(workers, len(bags))
    pool = ProcessPoolExecutor(count, context, _begin_worker, (shared,))
    counted = 0
    try:
        waiting: dict[Future[BagReport | ConfigError], Path] = {
            pool.submit(_convert_in_worker, bag, out, contract): bag for bag in bags
        }
        while waiting:
            done, _ = wait(waiting, timeout=POLL_S, return_when=FIRST_COMPLETED)
            newly = shared.value - counted
            counted += newly
            yield newly, None
            for future in done:
                yield 0, (waiting.pop(future), future.result())
    except BrokenProcessPool as error:
        raise ConfigError(
            f"{out}: a process that converts bags was killed",
            got=error,
            hint="if memory ran out, use fewer --workers; the same command goes on from here",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_ticks: Synchronized[int] | None = None


def _begin_worker(shared: Synchronized[int]) -> None:
    """Ctrl-C reaches every process of the terminal; the parent ends the pool in good order."""
    global _ticks
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _ticks = shared
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker would wait for ever for a parent that was killed, or write on beside the next."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _convert_in_worker(bag: Path, out: Path, contract: Contract) -> BagReport | ConfigError:
    assert _ticks is not None
    return try_convert(bag, out, contract, partial(_add_ticks, _ticks))


def _add_ticks(shared: Synchronized[int], seconds: int) -> None:
    with shared.get_lock():
        shared.value += seconds
