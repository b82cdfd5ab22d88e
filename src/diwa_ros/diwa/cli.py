# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The `diwa` command: everything that works without ROS. Calls the library, sets exit codes.

What a subcommand needs is imported when it runs, so that `--help` is quick and a Ctrl-C during the
imports ends as cleanly as one later.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence

from diwa.arguments import parse
from diwa.errors import ConfigError
from diwa.train.stop import EXIT_INTERRUPTED, Interrupted

EXIT_MISTAKE = 2
EXIT_FAILED = 1
USER_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)

Work = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn what users can mend into one message and an exit code."""
    arguments = parse(argv)
    try:
        return COMMANDS[arguments.command](arguments)
    except ConfigError as error:
        _say(f"diwa: {error}")
        return EXIT_MISTAKE
    except (Interrupted, KeyboardInterrupt):
        if argv is None:  # this process ends now: a further Ctrl-C has nothing left to stop
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _say("diwa: stopped; the same command goes on from what was saved")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `diwa info ... | head`
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        _say(f"diwa: {error.strerror}: {error.filename or 'while writing'}")
        return EXIT_FAILED


def _info(arguments: argparse.Namespace) -> int:
    from diwa.data.info import describe

    _print(describe(arguments.path))
    return 0


def _build(arguments: argparse.Namespace) -> int:
    from diwa.data.build import build_dataset
    from diwa.data.contract import load_contract
    from diwa.data.episode import find_bags
    from diwa.train.progress import make_progress

    bags = []
    for folder in arguments.bags:
        found = find_bags(folder)
        if not found:
            raise ConfigError(
                f"{folder}: no finished bags here",
                expected="a bag folder of the play recorder, or a folder with some below it",
                hint="record with `ros2 launch diwa_ros collect.launch.py`",
            )
        bags += [bag for bag in found if bag not in bags]
    contract = load_contract(arguments.contract) if arguments.contract else None
    dataset = build_dataset(
        bags,
        arguments.out,
        contract,
        workers=arguments.workers,
        progress=make_progress(arguments.progress),
    )
    frames = sum(info.length for info in dataset.episodes)
    if arguments.progress != "json":
        _print(f"{arguments.out}: {len(dataset.episodes)} episodes, {frames} frames")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from diwa.train.pipeline import main_train

    return main_train(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
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
    _print(json.dumps(figures) if arguments.json else as_text(figures))
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from diwa.train.report import write_report

    _print(str(write_report(arguments.run)))
    return 0


COMMANDS: dict[str, Work] = {
    "info": _info,
    "dataset build": _build,
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
}


def _print(text: str) -> None:
    sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
