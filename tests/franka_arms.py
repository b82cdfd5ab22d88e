# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Simulated arms for the tests, in processes of their own, and what drives a backend in turn."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from diwa.control.robots import load_robot
from diwa.control.targets import TargetStream
from diwa.data.contract import Contract, Workspace
from diwa_ros.backends.base import Setup
from diwa_ros.backends.libfranka import Libfranka
from diwa_ros.backends.libfranka_link import LibfrankaSettings

SIMULATORS = Path(sys.prefix) / "simulators/bin/python"  # see the Makefile
SERVER = Path(__file__).with_name("franka_server.py")
START_TIMEOUT_S = 60.0
SUBSTEPS = 2  # targets per control period


class SimulatedArm:
    """A server in a process of its own; `address` is where libfranka finds it."""

    def __init__(self, log: Path, kind: str, *options: str) -> None:
        self._log = log
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [str(SIMULATORS), str(SERVER), kind, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
                start_new_session=True,
            )
        threading.Thread(target=self._read, daemon=True).start()
        self.address = self._answer("serving")

    def command(self, name: str) -> None:
        """Have the server do something; see franka_server.py."""
        assert self.process.stdin is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        self._answer("done")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("ended")

    def _answer(self, first: str) -> str:
        words = self._lines.get(timeout=START_TIMEOUT_S).split()
        assert words[0] == first, f"{words}\n{self._log.read_text()[-3000:]}"
        return words[-1]


def wide_contract(contract: Contract) -> Contract:
    """The contract with a workspace in front of the simulated arms."""
    box = Workspace(minimum=(0.2, -0.5, 0.05), maximum=(0.8, 0.5, 0.9))
    return contract.model_copy(update={"workspace": box})


class Driver:
    """What the bridge does, without ROS: actions in, targets to a backend, at the wall's pace."""

    def __init__(self, address: str, contract: Contract, **settings: Any) -> None:
        node: Any = SimpleNamespace(get_logger=lambda: logging.getLogger("backend"))
        self.contract = wide_contract(contract)
        self.limits = load_robot("fr3")
        setup = Setup(
            node, self.limits, self.contract, Path("-"), address, SUBSTEPS * contract.rate_hz
        )
        self.backend = Libfranka(setup, LibfrankaSettings(realtime="ignore", **settings))
        self.stream = TargetStream(self.limits, self.contract)

    def __enter__(self) -> Driver:
        self.backend.connect()
        self.until(self.backend.state, "state")
        return self

    def __exit__(self, *_: object) -> None:
        self.backend.close()

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
        """Wait for `condition()`; returns its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"no {what}; {self.backend.problems()}"
            time.sleep(0.01)
        return value

    def begin(self) -> None:
        """Seed from the measured pose and follow targets; returns once the arm follows."""
        assert self.stream.seed(self.backend.state().pose)
        self.backend.start(self.stream.desired)
        self.until(lambda: self.backend.state().robot_mode == 2, "motion")

    def drive(self, action: np.ndarray | None) -> None:
        """One control period."""
        self.stream.step(action, self.backend.state().pose)
        for index in range(SUBSTEPS):
            self.backend.send(self.stream.sample((index + 1) / SUBSTEPS), time.time_ns())
            time.sleep(self.stream.period_s / SUBSTEPS)

    def distance(self) -> float:
        """Between the desired position and the measured one [m]."""
        return float(np.linalg.norm(self.stream.desired[:3] - self.backend.state().pose[:3]))
