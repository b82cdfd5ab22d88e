# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`kill -9` of a build: nothing half-written is used, nothing runs on, and it goes on."""

import fcntl
import os
import subprocess
import sys
import time

import psutil
import pytest

from bag_files import lockstep_bag
from diwa.data.build import build_dataset
from diwa.data.dataset import Dataset
from diwa.errors import ConfigError

BAGS = 12
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def bags(tmp_path_factory, lowdim_contract):
    folder = tmp_path_factory.mktemp("bags")
    return [lockstep_bag(folder / f"ep{n:02}", lowdim_contract, 120, seed=n) for n in range(BAGS)]


def start_build(bags, out):
    command = [sys.executable, "-m", "diwa", "dataset", "build", "--progress", "none"]
    return subprocess.Popen([*command, *map(str, bags), "--out", str(out)])


def wait_for_reports(process, out, count):
    """Until so many bags are converted, or the build has ended."""
    end = time.monotonic() + PATIENCE_S
    while len(list((out / "sources").glob("*.json"))) < count and process.poll() is None:
        assert time.monotonic() < end, "the build does not get on"
        time.sleep(0.002)


@pytest.mark.parametrize("converted", [0, 1, 5])
def test_killed_build_goes_on_to_the_same_dataset(bags, tmp_path, converted):
    out = tmp_path / "data"
    process = start_build(bags, out)
    try:
        wait_for_reports(process, out, converted)
        workers = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_S)
    assert alive == []
    if not (out / "manifest.json").exists():
        with pytest.raises(ConfigError, match="not a finished dataset"):
            Dataset.open(out)
    resumed = build_dataset(bags, out, workers=0)
    clean = build_dataset(bags, tmp_path / "clean", workers=0)
    assert resumed.manifest == clean.manifest
    for info in clean.episodes:
        for key in clean.keys:
            assert resumed.array(info.id, key).tobytes() == clean.array(info.id, key).tobytes()
    assert not list((out / "shards").rglob("*.tmp"))


def test_two_builds_of_one_dataset_do_not_run_at_once(bags, tmp_path):
    out = tmp_path / "data"
    (out / "sources").mkdir(parents=True)
    descriptor = os.open(out / "sources", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another build"):
            build_dataset(bags[:1], out)
    finally:
        os.close(descriptor)
    assert len(build_dataset(bags[:1], out).episodes) == 1
