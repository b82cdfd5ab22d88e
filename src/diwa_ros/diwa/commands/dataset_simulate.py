# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa dataset simulate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from diwa.commands.options import Subparsers, add_progress, positive, subcommand, write_out

ABOUT = "Make a dataset of scripted play and demonstrations on the simulated table, without ROS."
EXAMPLES = """\
examples:
  diwa dataset simulate --contract config/contracts/panda_calvin_lowdim.yaml --out data/play
  diwa dataset simulate --contract CONTRACT.yaml --out data/led 'skills=[turn_on_led]' demos=20

settings are those of diwa/sim/collect.py; the same command goes on where it was cut
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "dataset simulate", ABOUT, EXAMPLES)
    command.add_argument("--contract", type=Path, required=True, help="contract file")
    command.add_argument("--out", type=Path, required=True, help="dataset folder to write")
    command.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="as in `demos=20`")
    command.add_argument(
        "--workers", type=positive, default=1, help="processes that simulate play (default: 1)"
    )
    add_progress(command)
    command.set_defaults(rest_goes_to="settings")
    return command


def run(arguments: argparse.Namespace) -> int:
    """Simulate, and print how much it became."""
    from diwa.config import parse_overrides
    from diwa.data.contract import load_contract
    from diwa.sim.collect import CollectConfig, collect_dataset
    from diwa.train.progress import make_progress
    from diwa.train.stop import StopFlag, stop_on_signals

    contract = load_contract(arguments.contract)
    config = parse_overrides(CollectConfig, arguments.settings, "settings")
    with stop_on_signals(StopFlag()) as stop:
        dataset = collect_dataset(
            arguments.out,
            contract,
            config,
            progress=make_progress(arguments.progress),
            stop=stop,
            workers=arguments.workers,
        )
    frames = sum(info.length for info in dataset.episodes)
    if arguments.progress != "json":
        write_out(f"{arguments.out}: {len(dataset.episodes)} episodes, {frames} frames")
    return 0
