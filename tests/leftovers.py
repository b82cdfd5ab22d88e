# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a test run has started ends with it, even if the run is killed.

Nodes run in sessions of their own. One that outlives its run goes on publishing, and a later test
in the same DDS domain takes its messages for those of the node that it has started itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

RUN = "DIWA_TEST_RUN"  # variable that tells the processes of a run
DOMAIN = "ROS_DOMAIN_ID"


def environments() -> Iterator[tuple[int, dict[str, str]]]:
    """Process ids and variables of what runs on this machine, as far as they can be read."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:  # another user's, or just ended
            continue
        pairs = (entry.partition("=") for entry in text.split("\0"))
        yield int(folder.name), {name: value for name, _, value in pairs}


def domains_in_use() -> set[int]:
    """DDS domains of the processes of this machine; a robot may be among them."""
    values = (variables.get(DOMAIN, "") for _, variables in environments())
    return {int(value) for value in values if value.isdecimal()}


def begin_run() -> subprocess.Popen:
    """Mark all processes started from now on, and have them ended when this one has ended.

    Returns:
        Process that waits for that; this one must keep its standard input open.
    """
    os.environ[RUN] = uuid.uuid4().hex
    return subprocess.Popen(
        [sys.executable, __file__, os.environ[RUN]],
        stdin=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != RUN},
        start_new_session=True,
    )


def end_run(mark: str) -> None:
    """Kill what carries a mark."""
    for pid, variables in environments():
        if variables.get(RUN) == mark:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.stdin.buffer.read()  # ends with the run
    end_run(sys.argv[1])
