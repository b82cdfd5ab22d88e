# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa` in processes that are forked from one that has done nothing but import.

Importing takes longer than the tiny trainings of the tests. The forks order sets alike: have one
run of a comparison be a command of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess

from diwa.cli import main

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["diwa.train.pipeline", "torch._dynamo", "torch.distributed.fsdp"])


def start_diwa(
    words: Sequence[object], environment: Mapping[str, str] | None = None
) -> BaseProcess:
    """Start the command with these words; `environment` is added to this process's."""
    added = {**os.environ, **(environment or {})}
    process = _FORKS.Process(target=_main, args=([*map(str, words)], added))
    process.start()
    return process


def wait_for(process: BaseProcess, timeout_s: float) -> int | None:
    """Exit code; None where it still runs."""
    process.join(timeout_s)
    return process.exitcode


def _main(words: list[str], environment: dict[str, str]) -> None:
    os.environ.update(environment)
    sys.exit(main(words))
