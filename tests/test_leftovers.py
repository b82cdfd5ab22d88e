# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing that a test run starts outlives it, and no test gets a domain that is in use."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import leftovers
from leftovers import DOMAIN, domains_in_use

CHILD = ["cat"]
RUN = """
import subprocess, time
import leftovers
leftovers.begin_run()
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_killed_run_leaves_no_process_behind():
    run = subprocess.Popen(
        [sys.executable, "-c", RUN],
        stdout=subprocess.PIPE,
        cwd=Path(leftovers.__file__).parent,
        start_new_session=True,
    )
    child = int(run.stdout.readline())
    ended = os.pidfd_open(child)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    run.stdout.close()
    assert select.select([ended], [], [], 60)[0], "it still runs"
    os.close(ended)


def test_domain_of_a_running_process_is_in_use():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(CHILD, env={**os.environ, DOMAIN: "163"}, **pipes) as child:
        child.stdin.write(b"?")
        assert child.stdout.read(1) == b"?"  # it runs: before, it may have no environment yet
        assert 163 in domains_in_use()
        child.stdin.close()
        child.wait()
    assert 163 not in domains_in_use()
