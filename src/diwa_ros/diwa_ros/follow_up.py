# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What follows a recording: `diwa dataset build`, in a process that outlives the recorder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from diwa_ros.processes import SOURCE_PATH

LOG = "build.log"  # in the folder of the bags


def build_dataset_of(folder: Path, dataset: Path) -> subprocess.Popen[bytes]:
    """Begin to build `dataset` of all bags in `folder`; those converted earlier are not read again.

    The process is in a session of its own, so that a Ctrl-C for the recorder does not end it.
    """
    command = [sys.executable, "-m", "diwa", "dataset", "build", str(folder.absolute())]
    command += ["--out", str(dataset.absolute()), "--skip-damaged", "--progress", "plain"]
    paths = [str(SOURCE_PATH), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, paths)))}
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
