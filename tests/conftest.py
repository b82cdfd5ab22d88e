# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Every test alone: one thread, fixed seeds, and a ROS graph that nobody else sees."""

import fcntl
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# Before anything imports numpy, torch or rclpy.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.pop("RMW_IMPLEMENTATION", None)  # the wheels have Fast DDS only
os.environ.pop("ROS_LOCALHOST_ONLY", None)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["RCUTILS_COLORIZED_OUTPUT"] = "0"

import numpy as np
import pytest

from diwa.data.contract import Contract, load_contract
from leftovers import begin_run, domains_in_use

ROOT = Path(__file__).resolve().parent.parent
# Domains 1-101 are safe with default port settings; 0 is everybody's.
DOMAINS = 101
_next_domain = os.getpid() * 7


def _lock_domain() -> tuple[int, IO[str]]:
    """A domain that nobody else on this machine uses; others' tests, while the file is open."""
    global _next_domain
    for _ in range(DOMAINS):
        _next_domain += 1
        domain = 1 + _next_domain % DOMAINS
        try:
            lock = (Path(tempfile.gettempdir()) / f"diwa_test_domain_{domain}.lock").open("a")
        except PermissionError:  # another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if domain not in domains_in_use():  # asked while nobody else can take it
            return domain, lock
        lock.close()
    raise RuntimeError("no DDS domain is free")


@pytest.fixture(scope="session", autouse=True)
def _run():
    """Ends what tests leave behind."""
    guard = begin_run()
    yield
    guard.stdin.close()
    guard.wait()


@pytest.fixture(scope="session", autouse=True)
def _ros_log_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros_log")))
        patch.setenv("ROS_HOME", str(tmp_path_factory.mktemp("ros_home")))
        yield


@pytest.fixture(autouse=True)
def _seeds():
    random.seed(0)
    np.random.seed(0)


@pytest.fixture
def ros_domain(monkeypatch) -> Iterator[int]:
    """A DDS domain of the test's own, for this process and the ones that it starts."""
    domain, lock = _lock_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))
    with lock:
        yield domain


@pytest.fixture(scope="module")
def module_ros_domain() -> Iterator[int]:
    """The same for all tests of a module, which share their processes."""
    domain, lock = _lock_domain()
    with lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        yield domain


@pytest.fixture(scope="module")
def simulator_unloaded():
    """Hides the simulator that other tests have imported from stages that must not know it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in sys.modules if n.startswith(("pybullet", "diwa.sim"))]:
            patch.delitem(sys.modules, name)
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def camera_contract() -> Contract:
    return load_contract(ROOT / "config/contracts/panda_calvin.yaml")


@pytest.fixture(scope="session")
def lowdim_contract() -> Contract:
    return load_contract(ROOT / "config/contracts/panda_calvin_lowdim.yaml")
