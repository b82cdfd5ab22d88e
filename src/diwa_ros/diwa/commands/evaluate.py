# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`diwa evaluate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from diwa.commands.options import (
    Subparsers,
    add_progress,
    count,
    positive,
    subcommand,
    write_out,
)

ABOUT = "Measure a checkpoint in the simulator."
EXAMPLES = """\
examples:
  diwa evaluate runs/kitchen/checkpoint
  diwa evaluate runs/new/checkpoint --base runs/old/checkpoint --episodes 100
  diwa evaluate runs/kitchen/checkpoint --json > result.json

With --base both act from the same starts, and the paired difference is given with its interval.
"""


def add_parser(subparsers: Subparsers) -> argparse.ArgumentParser:
    """Describe the arguments."""
    command = subcommand(subparsers, "evaluate", ABOUT, EXAMPLES)
    command.add_argument("checkpoint", type=Path, help="checkpoint folder")
    command.add_argument("--base", type=Path, help="checkpoint to compare with, on the same seeds")
    command.add_argument("--episodes", type=positive, default=50, help="default: 50")
    command.add_argument("--seed", type=count, default=100_000, help="first seed")
    command.add_argument(
        "--max-steps", type=positive, default=72, help="control steps per episode (default: 72)"
    )
    command.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: cpu)")
    command.add_argument("--json", action="store_true", help="figures and outcomes as JSON")
    add_progress(command)
    return command


def run(arguments: argparse.Namespace) -> int:
    """Run the episodes and print the figures."""
    from diwa.sim.compare import as_text, evaluate_checkpoints
    from diwa.train.pipeline import choose_device
    from diwa.train.progress import make_progress

    figures = evaluate_checkpoints(
        arguments.checkpoint,
        arguments.base,
        episodes=arguments.episodes,
        first_seed=arguments.seed,
        max_steps=arguments.max_steps,
        device=str(choose_device(arguments.device)),
        progress=make_progress(arguments.progress),
    )
    write_out(json.dumps(figures) if arguments.json else as_text(figures))
    return 0
