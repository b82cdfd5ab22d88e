# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluates launch files without a ROS installation, by play-launch's `dump`: no process starts.

The play-launch wheel is built against a ROS installation and a shared libpython 3.10. What it
needs of them to evaluate a file is in the ROS wheels, except for two libraries of service types
that it never calls here (empty ones are compiled) and the name of libpython (a link to ours).
"""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(sysconfig.get_path("purelib"))
SHIM = Path(sys.prefix) / "lib" / "play_launch_shim"
VERSION = "0.16.0"  # the newest one that runs with glibc 2.36
INIT = ("ListNodes_Request", "ListNodes_Response", "LoadNode_Response", "UnloadNode_Response")
HANDLES = ("ListNodes", "LoadNode", "UnloadNode")
STUBS = {
    "libcomposition_interfaces__rosidl_generator_c.so": [
        f"composition_interfaces__srv__{name}__init" for name in INIT
    ],
    "libcomposition_interfaces__rosidl_typesupport_c.so": [
        f"rosidl_typesupport_c__get_service_type_support_handle__composition_interfaces__srv__{name}"
        for name in HANDLES
    ],
}


class Unavailable(Exception):
    """Launch files cannot be evaluated here; the text says why."""


def dump(launch_file: str, prefix: Path, **arguments: str) -> dict[str, Any]:
    """Nodes that `ros2 launch diwa_ros LAUNCH_FILE name:=value ...` would start, by full name.

    Args:
        launch_file: name of a file in `launch/`.
        prefix: a folder made by `make_prefix`.
        **arguments: launch arguments.

    Raises:
        Unavailable: play-launch cannot run here.
        ValueError: the launch file does not evaluate with these arguments.
    """
    output = prefix / "model.yaml"
    output.unlink(missing_ok=True)
    binary = SITE / "play_launch" / "bin" / "play_launch"
    command = [str(binary), "dump", "--output", str(output), "launch", "diwa_ros", launch_file]
    command += [f"{name}:={value}" for name, value in arguments.items()]
    result = subprocess.run(
        command, cwd=prefix, env=_environment(prefix), capture_output=True, text=True, timeout=60
    )
    if result.returncode:
        raise ValueError(result.stderr)
    return yaml.safe_load(output.read_text())["structure"]["nodes"]


def make_prefix(folder: Path) -> Path:
    """An installation of the package as launch sees it: index marker, launch files, settings."""
    index = folder / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "diwa_ros").touch()
    for name in ("launch", "config"):
        shutil.copytree(ROOT / name, folder / "share" / "diwa_ros" / name)
    shutil.copytree(ROOT / "src" / "diwa_ros" / "scripts", folder / "lib" / "diwa_ros")
    return folder


def build_shim() -> None:
    """Make what play-launch misses, once per environment."""
    try:
        version = importlib.metadata.version("play-launch")
    except importlib.metadata.PackageNotFoundError as error:
        raise Unavailable(f"pip install --no-deps play-launch=={VERSION}") from error
    if ctypes.util.find_library("z3") is None:
        raise Unavailable(f"play-launch {version} needs the system library libz3.so.4")
    libpython = _libpython()
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Unavailable("no C compiler")
    SHIM.mkdir(exist_ok=True)
    link = SHIM / "libpython3.10.so.1.0"
    link.unlink(missing_ok=True)
    link.symlink_to(libpython)
    for name, symbols in STUBS.items():
        if (SHIM / name).exists():
            continue
        code = "".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in symbols)
        built = SHIM / f"{name}.{os.getpid()}"
        command = [compiler, "-shared", "-fPIC", "-x", "c", "-o", str(built), "-"]
        subprocess.run(command, input=code, text=True, check=True, timeout=60)
        built.replace(SHIM / name)


def _libpython() -> Path:
    """The shared library of the running Python."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    folders = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL")]
    folders += ["/usr/lib/x86_64-linux-gnu", str(Path(sys.base_prefix) / "lib")]
    for folder in folders:
        path = Path(folder or ".") / name
        if name.startswith("libpython") and ".so" in name and path.is_file():
            return path
    raise Unavailable("this Python has no shared libpython")


def _environment(prefix: Path) -> dict[str, str]:
    libraries = [SHIM, Path(sys.prefix) / "lib", SITE / "play_launch" / "lib"]
    libraries += sorted(SITE.glob("ros_*.libs"))
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "PYTHONPATH": str(SITE),
        "AMENT_PREFIX_PATH": f"{prefix}{os.pathsep}{sys.prefix}",
        "NROS_PYTHON": str(SHIM / "libpython3.10.so.1.0"),
        # Else the embedded Python would replace its process by a Python of its own.
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
    }
