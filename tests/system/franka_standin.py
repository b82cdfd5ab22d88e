# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""franka_msgs is on no package index: a stand-in is compiled, once, beside the environment.

`make test` does that before the tests; they do it where pytest is called in another way.

It lies in a folder that only processes started with `standin_environment` look into, so that
nobody takes it for the real one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "messages" / "franka_msgs"
BUILT = Path(sys.prefix) / "standins"
BUILD_S = 900.0


def standin_environment() -> dict[str, str]:
    """Variables with which Python finds the stand-in, which is built if need be."""
    prefix = _built()
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(prefix)}))
    paths = [str(Path(__file__).resolve().parents[2] / "src" / "diwa_ros"), str(packages)]
    libraries = [str(prefix / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "LD_LIBRARY_PATH": os.pathsep.join(path for path in libraries if path),
    }


def _built() -> Path:
    files = sorted(path for path in SOURCE.rglob("*") if path.is_file())
    content = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    prefix = BUILT / f"franka_msgs-{content}"
    if prefix.is_dir():
        return prefix
    BUILT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILT) as folder:
        source = shutil.copytree(SOURCE, Path(folder) / "source")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        command += ["install", "-q", "--no-build-isolation", "--no-deps", "--no-index"]
        command += ["--no-warn-script-location", "--prefix", f"{folder}/prefix", str(source)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=BUILD_S)
        (Path(folder) / "prefix").rename(prefix)
    return prefix


if __name__ == "__main__":
    try:
        standin_environment()
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.stderr[-2000:]) from error
