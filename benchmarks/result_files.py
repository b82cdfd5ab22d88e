# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the scripts that make tables of results share: runs, and a section of docs/results.md."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from diwa.data.contract import load_contract
from diwa.data.dataset import Dataset
from diwa.errors import ConfigError
from diwa.files import write_text
from diwa.sim.collect import CollectConfig, collect_dataset
from diwa.train.progress import Progress
from diwa.train.run import Run
from diwa.train.stop import EXIT_INTERRUPTED, Interrupted, StopFlag, stop_on_signals

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs/results.md"
EXIT_MISTAKE = 2


class Suite:
    """All runs of a file of settings, in one folder.

    Attributes:
        path: the experiment that all runs are variants of.
    """

    def __init__(
        self,
        experiment: str,
        contract: str,
        data: CollectConfig,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.folder = folder
        self.progress = progress
        self.path = ROOT / "config/experiments" / f"{experiment}.yaml"
        self._contract = ROOT / "config/contracts" / f"{contract}.yaml"
        self._data = data

    def collect(self, stop: StopFlag) -> Dataset:
        """Play and demonstrations, the same for all runs."""
        return collect_dataset(
            self.folder / "data",
            load_contract(self._contract),
            self._data,
            progress=self.progress,
            stop=stop,
            workers=os.cpu_count() or 1,
        )


def train(experiment: Path, overrides: Sequence[str], dataset: Dataset, run: Run) -> int:
    """`diwa train` in a process of its own; its exit code.

    Fine-tuning refuses to run where the simulator has been loaded, and it has been in here.

    Raises:
        Interrupted: the process was asked to stop.
    """
    folders = ["--config", str(experiment), "--data", str(dataset.path), "--run", str(run.path)]
    command = [sys.executable, "-m", "diwa.cli", "train", *folders, *overrides]
    with stop_on_signals(StopFlag()) as stop, subprocess.Popen(command) as process:
        told = False
        while process.poll() is None:
            if stop and not told:  # Ctrl-C reaches both; a signal to this process alone does not
                process.terminate()
                told = True
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.5)
    if stop or process.returncode == EXIT_INTERRUPTED:
        raise Interrupted("the training was stopped")
    return process.returncode


def run_command(main: Callable[[], None]) -> int:
    """Exit code of a suite's `main`: one line for what a user can mend, and for being stopped."""
    try:
        main()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_MISTAKE
    except (Interrupted, KeyboardInterrupt):
        print("stopped; the same command goes on from what was saved", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def origin(command: str) -> dict[str, str]:
    """The command, the commit and the machine, for a file of results."""
    head = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    threads = torch.get_num_threads()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, threads of a process: {threads}"
    return {"command": command, "commit": commit, "machine": machine}


def write_section(name: str, text: str) -> None:
    """Replace what stands between the marks of `name` in docs/results.md."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = RESULTS.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    write_text(RESULTS, f"{before}{begin}\n{text}\n{end}{after}")
