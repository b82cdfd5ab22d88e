# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What `diwa trials` does: the node in this process, and the simulated table where it is asked."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

from diwa.commands.options import write_out
from diwa.errors import ConfigError
from diwa.files import write_text
from diwa.train.stop import EXIT_INTERRUPTED
from diwa.trials.plan import inspect_pair
from diwa.trials.results import as_text, evaluate_series
from diwa.trials.series import PLAN, SEALED, Series
from diwa_ros.demo import private_domain
from diwa_ros.processes import NodeProcess, Parameter
from diwa_ros.running import run_node
from diwa_ros.trials import Trials, TrialSettings, plan_series

SIMULATION = "calvin_bridge"


def run_session(arguments: argparse.Namespace, folder: Path) -> int:
    """Run what is left of a series; returns the exit code."""
    if not (folder / PLAN).exists():
        plan_series(_settings(arguments, folder), folder)
    elif arguments.base is not None:
        raise ConfigError(
            f"{folder}: there is a series already",
            hint="go on with it by leaving the checkpoints out, or name another folder",
        )
    with Series(folder) as series:
        plan, revealed = series.plan, series.revealed
    if revealed:
        return _say_how_it_stands(folder)
    if plan.judge == "person" and not sys.stdin.isatty():
        raise ConfigError("a person judges, and this is no terminal", hint="run it in a terminal")
    settings = TrialSettings(
        str(folder),
        simulated=plan.simulated,
        operator=arguments.operator,
        bridge=SIMULATION if plan.simulated else arguments.bridge,
        policy_params_file=arguments.policy_params,
        home=not arguments.no_home,
    )
    with ExitStack() as stack:
        if plan.simulated:
            private_domain()
            stack.enter_context(_simulation(folder, plan.base.path, arguments.namespace))
        code = run_node(lambda: Trials(settings, arguments.namespace), Trials.work)
    return _say_how_it_stands(folder) if code in (0, 1) else code


def _settings(arguments: argparse.Namespace, folder: Path) -> TrialSettings:
    return TrialSettings(
        str(folder),
        base=str(arguments.base or ""),
        adapted=str(arguments.adapted or ""),
        pairs=arguments.pairs,
        seed=arguments.seed,
        time_limit_s=arguments.time_limit,
        success_threshold=arguments.threshold,
        judge=arguments.judge or ("scene" if arguments.simulate else "person"),
        simulated=arguments.simulate,
    )


def _simulation(folder: Path, checkpoint: str, namespace: str) -> NodeProcess:
    """The simulated table under the checkpoints' contract, in step with the actions."""
    contract = inspect_pair(Path(checkpoint), Path(checkpoint)).contract
    path = folder / SEALED / "contract.yaml"
    write_text(path, contract.to_yaml())
    parameters: dict[str, Parameter] = {
        "contract": str(path),
        "cameras": bool(contract.image_keys),
        "real_time_factor": 0.0,
    }
    return NodeProcess(SIMULATION, parameters, folder / SEALED, namespace=namespace)


def _say_how_it_stands(folder: Path) -> int:
    with Series(folder) as series:
        if series.revealed:
            write_out(f"{as_text(evaluate_series(series))}\nreport: {folder / 'report.html'}")
            return 0
        done, total = len(series.outcomes), 2 * series.plan.pairs
    write_out(f"{done} of {total} trials done; diwa trials --folder {folder}")
    return EXIT_INTERRUPTED
