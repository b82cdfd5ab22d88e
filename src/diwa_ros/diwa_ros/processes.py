# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Starting nodes as processes, and ending them for certain.

This is how nodes run where there is no `ros2 launch`: each in a session of its own, with its
output in a log file, reachable only from this machine unless the user says otherwise.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import yaml

from diwa.errors import ConfigError
from diwa.files import write_text

Parameter = bool | int | float | str
SOURCE_PATH = Path(__file__).resolve().parents[1]


def node_environment(log_dir: Path, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for a node.

    RMW_IMPLEMENTATION is dropped: with the wheels only one implementation is there, and naming
    another one ends the process at its start. Discovery stays on this machine by default.
    """
    environment = dict(os.environ if base is None else base)
    environment.pop("RMW_IMPLEMENTATION", None)
    if "ROS_LOCALHOST_ONLY" not in environment:
        environment.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    environment.setdefault("ROS_LOG_DIR", str(log_dir / "ros"))
    environment["PYTHONUNBUFFERED"] = "1"
    paths = [str(SOURCE_PATH), *environment.get("PYTHONPATH", "").split(os.pathsep)]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    return environment


class NodeProcess:
    """One node of this package in a process of its own.

    Args:
        node: module name, such as `calvin_bridge`.
        parameters: node parameters.
        log_dir: folder for the log and the parameter file.
        name: node name, where it differs from the module's; also names the log.
        namespace: of the node.
        remappings: other names for topics and services.
        environment: variables to add or replace.
    """

    def __init__(
        self,
        node: str,
        parameters: Mapping[str, Parameter],
        log_dir: Path,
        *,
        name: str = "",
        namespace: str = "",
        remappings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name or node
        self.log_path = log_dir / f"{self.name}.log"
        settings = log_dir / f"{self.name}.yaml"
        write_text(settings, yaml.safe_dump({"/**": {"ros__parameters": dict(parameters)}}))
        command = [sys.executable, "-m", f"diwa_ros.{node}", "--ros-args"]
        command += ["--params-file", str(settings), "-r", f"__node:={self.name}"]
        if namespace:
            command += ["-r", f"__ns:={namespace}"]
        for old, new in (remappings or {}).items():
            command += ["-r", f"{old}:={new}"]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**node_environment(log_dir), **(environment or {})},
            )

    @property
    def pid(self) -> int:
        """Process id, which is also the id of the process group."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        """Exit code, once the node has ended by itself.

        Raises:
            ConfigError: it still runs after `timeout_s`.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ConfigError(
                f"node {self.name} did not end within {timeout_s:g} s",
                hint=f"see {self.log_path}",
            ) from error

    def stop(self, grace_s: float = 10.0) -> int:
        """Ask for an end with SIGINT, then SIGTERM, then force it; returns the exit code."""
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self.send(signal_number)
            try:
                self._process.wait(grace_s)
            except subprocess.TimeoutExpired:
                continue
        self.send(signal.SIGKILL)  # what the node may have left behind in its group
        return self._process.wait()

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal to the node's process group, if there still is one."""
        try:
            os.killpg(self._process.pid, signal_number)
        except ProcessLookupError:
            return

    def log_text(self) -> str:
        """What the node has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
