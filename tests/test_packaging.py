# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What gets installed where, and what the Makefile says before anything can go wrong."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile

import pytest

from diwa import __version__


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """Files in the wheel built from a copy of src/diwa_ros, by path."""
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("*.egg-info", "build", "__pycache__", ".*")
    for name in ("src/diwa_ros", "launch", "config"):
        shutil.copytree(root / name, folder / name, symlinks=True, ignore=ignore)
    shutil.copy(root / "LICENSE", folder)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "-w", str(folder), str(folder / "src/diwa_ros")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {info.filename: info for info in archive.infolist()}


def data_files(wheel):
    """Files that go below the prefix of an installation."""
    return {name.partition(".data/data/")[2] for name in wheel if ".data/data/" in name}


def test_wheel_has_both_import_roots(wheel, root):
    for package in ("diwa", "diwa_ros"):
        for path in (root / "src/diwa_ros" / package).rglob("*.py"):
            assert str(path.relative_to(root / "src/diwa_ros")) in wheel


def test_wheel_puts_marker_launch_files_and_settings_where_ros_looks(wheel, root):
    installed = data_files(wheel)
    assert "share/ament_index/resource_index/packages/diwa_ros" in installed
    assert "share/diwa_ros/package.xml" in installed
    for folder in ("launch", "config"):
        for path in (root / folder).rglob("*.*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"share/diwa_ros/{path.relative_to(root)}" in installed


def test_wheel_has_the_nodes_as_programs_in_lib(wheel, root):
    scripts = [p for p in (root / "src/diwa_ros/scripts").iterdir() if p.is_file()]
    assert scripts
    for path in scripts:
        assert os.access(path, os.X_OK), path
        assert f"lib/diwa_ros/{path.name}" in data_files(wheel)
    modes = [info.external_attr >> 16 for name, info in wheel.items() if "/lib/diwa_ros/" in name]
    assert all(mode & 0o111 for mode in modes)


def test_wheel_takes_nothing_else_along(wheel):
    assert not [name for name in wheel if "__pycache__" in name or "/test" in name]


def test_template_files_are_in_the_wheel(wheel, root):
    package = root / "src/diwa_ros/diwa"
    for path in package.rglob("*"):
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            assert str(path.relative_to(root / "src/diwa_ros")) in wheel


def test_versions_agree(root):
    found = {__version__}
    for package in ("diwa_ros", "diwa_msgs"):
        tree = ElementTree.parse(root / f"src/{package}/package.xml")
        found.add(tree.findtext("version"))
        assert tree.findtext("license") == "Apache-2.0"
    for name in ("src/diwa_ros/setup.py", "src/diwa_msgs/pyproject.toml"):
        found |= set(re.findall(r'\bversion ?= ?"([^"]+)"', (root / name).read_text()))
    assert len(found) == 1


def test_requirements_cover_the_build_of_the_messages(root):
    text = (root / "src/diwa_msgs/pyproject.toml").read_text()
    needed = set(re.findall(r'"([A-Za-z][\w-]+)', text.partition("requires = [")[2].split("]")[0]))
    listed = set(
        re.findall(r"^([A-Za-z][\w-]+)", (root / "requirements/ros.txt").read_text(), re.M)
    )
    assert needed - {"numpy"} <= listed


def run_script(root, name, *arguments, path):
    return subprocess.run(
        ["/bin/sh", str(root / "tools" / name), *arguments],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )


def fake_program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_python_is_found_past_ones_that_do_not_serve(root, tmp_path):
    fake_program(tmp_path, "python3.11", "exit 127")  # a pyenv shim without its version
    fake_program(tmp_path, "python3.10", "echo has no venv module")
    real = getattr(sys, "_base_executable", sys.executable)
    fake_program(tmp_path, "python3.12", f'exec {real} "$@"')
    result = run_script(root, "find_python.sh", path=f"{tmp_path}:/bin:/usr/bin")
    assert result.stdout.strip() == real


def test_missing_python_says_what_was_tried_and_what_to_do(root, tmp_path):
    fake_program(tmp_path, "python3.13", "echo is Python 3.13")
    result = run_script(root, "find_python.sh", "python3.13", path=f"{tmp_path}:/bin:/usr/bin")
    assert result.returncode == 1
    assert "python3.13 is Python 3.13" in result.stderr
    assert "PYTHON=" in result.stderr
    assert "Docker" in result.stderr


def test_other_machine_or_missing_compiler_is_said_at_once(root, tmp_path):
    fake_program(tmp_path, "uname", '[ "$1" = -s ] && echo Linux || echo aarch64')
    for tool in ("sh", "cat", "cut", "getconf"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    result = run_script(root, "check_machine.sh", path=str(tmp_path))
    assert result.returncode == 1
    assert "aarch64" in result.stderr
    assert "gcc is missing" in result.stderr
    assert "colcon" in result.stderr


def make(root, *arguments, **environment):
    cleared = {k: v for k, v in os.environ.items() if not k.startswith(("ROS_", "_ROS", "MAKE"))}
    return subprocess.run(
        ["make", "-C", str(root), *arguments],
        env={**cleared, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_alone_shows_help(root):
    text = make(root).stdout
    for target in ("lint", "type", "test", "demo", "bench", "clean", "help"):
        assert re.search(rf"^  {target} ", text, re.M)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_ros_set_up_in_the_terminal_does_not_reach_the_environment(root, tmp_path):
    result = make(
        root, "-n", "-p", "help", ROS_DISTRO="jazzy", LD_LIBRARY_PATH="/opt/ros", PYTHONPATH="/x"
    )
    assert "ROS 2 jazzy is set up" in result.stdout
    (tmp_path / "Makefile").write_text(f"include {root}/Makefile\nshow:\n\t@env\n")
    shown = make(
        tmp_path, "show", ROS_DISTRO="jazzy", LD_LIBRARY_PATH="/opt/ros", PYTHONPATH="/opt/x"
    ).stdout
    assert "/opt/" not in re.sub(r"^(PATH|PWD|PIP_\w+|OLDPWD|MAKE\w*)=.*$", "", shown, flags=re.M)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_makefile_arguments_reach_the_programs(root, tmp_path):
    # A finished environment, as make sees it: nothing is set up, only the commands are shown.
    stamps = tmp_path / "venv/.stamps"
    stamps.mkdir(parents=True)
    for name in ("venv", "torch", "dev", "package", "machine", "ros", "messages", "bullet"):
        (stamps / name).touch()
    for name in ("links", "ready"):
        (stamps / name).touch()
    command = ["-n", f"VENV={tmp_path}/venv", "-o", "src"]
    tests = make(root, *command, "test", "ARGS=-k safety").stdout
    assert "-m pytest -k safety" in tests
    demo = make(root, *command, "demo", "PROFILE=smoke").stdout
    assert "-m diwa_ros.demo --profile smoke" in demo


def test_colcon_can_read_the_package(root):
    """Colcon evaluates the text of what setup.py and setup.cfg give: plain values only."""
    code = """
import ast, setuptools
from distutils.core import run_setup
dist = run_setup("setup.py", script_args=["--dry-run"], stop_after="config")
skipped = {"cmdclass", "distclass", "ext_modules", "metadata"}
data = {k: v for k, v in vars(dist).items() if k[0] != "_" and not callable(v) and k not in skipped}
ast.literal_eval(repr({k: v for k, v in data.items() if k not in dist.display_option_names}))
"""
    subprocess.run([sys.executable, "-c", code], cwd=root / "src/diwa_ros", check=True, timeout=60)
