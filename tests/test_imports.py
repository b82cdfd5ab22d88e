# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What may import what, and what no source file may be without."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROS = ("rclpy", "diwa_msgs", "diwa_ros", "rcl_interfaces", "std_msgs", "sensor_msgs", "launch")
HEADER = ("Copyright 2026 The DiWA for ROS 2 authors", "SPDX-License-Identifier: Apache-2.0")
SOURCE_SUFFIXES = {".py", ".sh", ".msg", ".srv", ".action", ".cmake"}

# Runs in a process of its own: nothing of ROS can be found there, whatever is installed.
IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys

blocked = set(sys.argv[1:])

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
        return None

sys.meta_path.insert(0, Blocker())
import diwa

names = ["diwa"]
for module in pkgutil.walk_packages(diwa.__path__, "diwa."):
    if module.name.rpartition(".")[2] != "__main__":
        importlib.import_module(module.name)
        names.append(module.name)
assert not blocked & set(sys.modules), blocked & set(sys.modules)
print(*names, sep="\\n")
"""


def package_modules(root: Path, package: str) -> list[Path]:
    return sorted((root / "src/diwa_ros" / package).rglob("*.py"))


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(str(node.module))
    return names


def test_every_diwa_module_imports_where_ros_is_blocked(root):
    environment = {**os.environ, "PYTHONPATH": str(root / "src/diwa_ros")}
    result = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", IMPORT_ALL, *ROS],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    modules = package_modules(root, "diwa")
    assert len(result.stdout.split()) == sum(path.name != "__main__.py" for path in modules)


def test_diwa_never_names_ros(root):
    for path in package_modules(root, "diwa"):
        roots = {name.partition(".")[0] for name in imported_names(path)}
        assert not roots & set(ROS), path


@pytest.mark.parametrize("package", ["diwa", "diwa_ros"])
def test_nothing_is_unpickled(root, package):
    for path in package_modules(root, package):
        names = imported_names(path)
        assert not names & {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib"}, path
        text = path.read_text(encoding="utf-8")
        assert "torch.load(" not in text, path
        assert "allow_pickle=True" not in text, path


@pytest.mark.parametrize("package", ["diwa", "diwa_ros"])
def test_libraries_neither_print_nor_exit(root, package):
    for path in package_modules(root, package):
        if path.name in ("cli.py", "demo.py", "__main__.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in ("print", "sys.exit", "exit", "quit"), path
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}"


def test_fine_tuning_code_does_not_know_the_simulator(root):
    """Zero simulator steps in fine-tuning: not even the import."""
    for package in ("world_model", "policy", "reward", "rl"):
        for path in package_modules(root, f"diwa/{package}"):
            for name in imported_names(path):
                assert not name.startswith(("diwa.sim", "pybullet")), path


def test_every_source_file_has_the_licence_header(root):
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in listed.stdout.split("\0") if name]
    checked = 0
    for path in (root / name for name in names):
        plain = path.suffix in SOURCE_SUFFIXES or "scripts" in path.parts
        if not (plain or path.name in ("CMakeLists.txt", "Makefile", "Dockerfile")):
            continue
        if path.is_symlink() or not path.is_file():
            continue
        start = path.read_text(encoding="utf-8")[:400]
        for line in HEADER:
            assert line in start, path
        checked += 1
    assert checked > 50
