# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Installs both import roots, and beside them what ROS looks for in share/ and lib/."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "diwa_ros"
HERE = Path(__file__).resolve().parent


def files_below(folder: str, target: str) -> list[tuple[str, list[str]]]:
    """One `data_files` entry per folder below `folder`, itself included; links are followed."""
    found: dict[str, list[str]] = {}
    for path in sorted((HERE / folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            relative = path.relative_to(HERE)
            parent = relative.parent.relative_to(folder)
            found.setdefault(str(Path(target) / parent), []).append(str(relative))
    return sorted(found.items())


setup(
    name=NAME,
    version="0.1.0",
    # Not in setup.cfg: there it becomes an object, and colcon reads only plain values.
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["diwa", "diwa.*", "diwa_ros", "diwa_ros.*"]),
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *files_below("launch", f"share/{NAME}/launch"),
        *files_below("config", f"share/{NAME}/config"),
        *files_below("scripts", f"lib/{NAME}"),
    ],
)
