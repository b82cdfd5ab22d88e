# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`make demo`: the whole job on a simulated Panda, from recording play to serving the policy.

Every step runs the parts that a lab runs: nodes in processes of their own over DDS, bags on disk,
the learning stages, the policy server. What is finished is kept, so an interrupted demo goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import pydantic

from diwa.config import Config, config_hash, load_config
from diwa.data.build import build_dataset
from diwa.data.dataset import Dataset
from diwa.data.episode import STOPPED, find_bags, read_episode
from diwa.errors import ConfigError
from diwa.files import read_json
from diwa.train.experiment import ExperimentConfig
from diwa.train.pipeline import learning_stages, prepare_run
from diwa.train.progress import Progress, make_progress
from diwa.train.results import CHECKPOINT, write_results
from diwa.train.run import Interrupted, Run, Stage, StageContext, StageRecord, run_stages
from diwa.train.stop import EXIT_INTERRUPTED
from diwa_ros.paths import config_directory, find_contract
from diwa_ros.processes import NodeProcess, Parameter

Positive = Annotated[int, pydantic.Field(gt=0)]
POLL_S = 0.25
PLAY_SETTINGS = ("play_steps", "play_skills", "play_clumsy")
IN_STEP = 0.0  # real-time factor: the simulation advances with the actions


class DemoProfile(Config):
    """How much is recorded, and which experiment learns from it; see `config/demo/`."""

    name: str
    experiment: str
    contract: str
    play_episodes: Positive
    play_steps: Positive
    play_skills: tuple[str, ...] = ()  # that play is made of; empty: all
    play_clumsy: float = 0.25  # share of the skills tried centimetres off
    demonstrations: Positive
    demonstration_noise: float
    seed: int
    served_episodes: Positive
    overrides: tuple[str, ...] = ()

    def recording_mark(self, *names: str) -> str:
        """Fingerprint of a recording: the settings that it depends on."""
        plain = self.model_dump(mode="json")
        return config_hash({name: plain[name] for name in ("contract", "seed", *names)})


class Demo:
    """One demo in one run folder."""

    def __init__(self, profile: DemoProfile, run: Run, progress: Progress) -> None:
        self.profile = profile
        self.run = run
        self.progress = progress
        path = config_directory() / "experiments" / f"{profile.experiment}.yaml"
        self.config = load_config(ExperimentConfig, path, profile.overrides)

    def execute(self) -> Path:
        """Do everything that is not done yet; returns the report's path."""
        device = prepare_run(self.run, self.config)
        marks = self._run_all(self._recording_stages())
        bags = [*self._bags("play"), *self._bags("demos")]
        folder = self.run.path / "dataset"
        build = Stage("dataset", config_hash(marks), lambda context: _build(bags, folder, context))
        self._run_all([build])
        dataset = Dataset.open(folder)
        stages = learning_stages(self.run, dataset, self.config, device)
        marks = self._run_all(stages)
        serving = config_hash([marks["evaluate"], self.profile.served_episodes])
        self._run_all([Stage("serve", serving, self._serve)])
        return write_results(self.run, self.config, dataset)

    def _run_all(self, stages: Sequence[Stage]) -> dict[str, str]:
        records: dict[str, StageRecord] = run_stages(self.run, stages, self.progress)
        return {name: record.fingerprint for name, record in records.items()}

    def _bags(self, stage: str) -> list[Path]:
        """The whole episodes; those that were cut are recorded again."""
        folder = self.run.stage_dir(stage) / "bags"
        records = {bag: read_episode(bag) for bag in find_bags(folder)} if folder.exists() else {}
        return [bag for bag, r in records.items() if not r.recovered and r.reason != STOPPED]

    def _recording_stages(self) -> list[Stage]:
        profile = self.profile
        play: dict[str, Parameter] = {
            "mode": "play",
            "steps_per_episode": profile.play_steps,
            "skills": ",".join(profile.play_skills),
            "clumsy": profile.play_clumsy,
        }
        demos: dict[str, Parameter] = {
            "mode": "demos",
            "task": self.config.task,
            "noise": profile.demonstration_noise,
            "steps_per_episode": 200,
        }
        return [
            Stage(
                "play",
                profile.recording_mark("play_episodes", *PLAY_SETTINGS),
                lambda context: self._record(context, "play", profile.play_episodes, play),
            ),
            Stage(
                "demos",
                config_hash(
                    [
                        profile.recording_mark("demonstrations", "demonstration_noise"),
                        self.config.task,
                    ]
                ),
                lambda context: self._record(context, "demos", profile.demonstrations, demos),
            ),
        ]

    def _record(
        self, context: StageContext, stage: str, count: int, teleop: dict[str, Parameter]
    ) -> dict[str, Any]:
        """Record until there are `count` episodes; those of an earlier part count."""
        folder = context.directory / "bags"
        if stage == "demos" and folder.exists() and len(self._bags(stage)) < count:
            shutil.rmtree(folder)  # attempts are numbered, and failed ones leave no trace
        done = len(self._bags(stage))
        context.progress.start(f"recording {stage} over ROS", count, done)
        seed = self.profile.seed + (0 if stage == "play" else 10_000)
        common: dict[str, Parameter] = {"contract": str(find_contract(self.profile.contract))}
        if done < count:
            with self._simulation(context.directory, common) as nodes:
                recorder = {**common, "folder": str(folder), "prefix": stage}
                nodes.append(NodeProcess("play_recorder", recorder, context.directory))
                script = {**common, **teleop, "episodes": count - done, "seed": seed}
                if stage == "play":  # the episodes are those of a recording in one go
                    script["first_episode"] = done
                driver = NodeProcess("teleop", script, context.directory)
                nodes.append(driver)
                self._wait(context, nodes, driver, stage, done)
        bags = self._bags(stage)
        if len(bags) < count:
            raise ConfigError(
                f"{folder}: {len(bags)} of {count} episodes were recorded",
                hint=f"see {context.directory / 'teleop.log'}",
            )
        return {"episodes": len(bags)}

    def _wait(
        self,
        context: StageContext,
        nodes: list[NodeProcess],
        driver: NodeProcess,
        stage: str,
        done: int,
    ) -> None:
        """Watch the recording until the driver ends by itself."""
        while driver.poll() is None:
            ended = [node for node in nodes if node is not driver and node.poll() is not None]
            context.stop.check()
            if ended:
                raise ConfigError(
                    f"node {ended[0].name} ended unexpectedly with code {ended[0].poll()}",
                    hint=f"see {ended[0].log_path}",
                )
            now = len(self._bags(stage))
            if now > done:
                context.progress.advance(now - done)
                done = now
            time.sleep(POLL_S)
        context.stop.check()  # Ctrl-C reaches the nodes too, perhaps before they can take it well
        if driver.poll() != 0:
            raise ConfigError(f"node {driver.name} failed", hint=f"see {driver.log_path}")

    @contextmanager
    def _simulation(
        self, log_dir: Path, common: dict[str, Parameter]
    ) -> Iterator[list[NodeProcess]]:
        """The bridge, and whatever is added to the list; all are stopped at the end."""
        bridge = {
            **common,
            "real_time_factor": IN_STEP,
            "cameras": False,
            "seed": self.profile.seed,
        }
        with ExitStack() as stack:
            nodes = [NodeProcess("calvin_bridge", bridge, log_dir)]
            stack.callback(lambda: [node.stop() for node in reversed(nodes)])
            yield nodes

    def _serve(self, context: StageContext) -> dict[str, Any]:
        """Serve the adapted policy to the simulated arm over ROS and count its successes."""
        count = self.profile.served_episodes
        output = context.directory / "served.json"
        common: dict[str, Parameter] = {"contract": str(find_contract(self.profile.contract))}
        context.progress.start("serving over ROS", 1)
        with self._simulation(context.directory, common) as nodes:
            server = {"checkpoint": str(self.run.path / CHECKPOINT)}
            nodes.append(NodeProcess("policy_server", server, context.directory))
            settings: dict[str, Parameter] = {
                **common,
                "task": self.config.task,
                "episodes": count,
                "seed": self.config.evaluation.seed,
                "time_limit_s": self.config.evaluation.max_steps / 30.0,
                "output": str(output),
            }
            client = NodeProcess("evaluation_client", settings, context.directory)
            nodes.append(client)
            self._wait(context, nodes, client, "served", 0)
        context.progress.advance(1)
        return dict(read_json(output))


def _build(bags: list[Path], folder: Path, context: StageContext) -> dict[str, Any]:
    dataset = build_dataset(bags, folder, progress=context.progress)
    return {"episodes": len(dataset.episodes), "hash": dataset.hash}


def private_domain() -> None:
    """Keep the demo's nodes apart from others on this machine, unless the user chose a domain."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 101))


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m diwa_ros.demo",
        description="The whole job on a simulated Panda: record play through ROS nodes, build the "
        "dataset, train, fine-tune in the dream, evaluate, serve, report.",
        epilog="Ctrl-C stops cleanly; the same command goes on from there.",
    )
    parser.add_argument(
        "--profile",
        default="demo",
        help="name of a file in config/demo: demo (half an hour) or smoke (minutes, no claim)",
    )
    parser.add_argument("--run", type=Path, help="run folder; default: runs/demo, runs/demo-smoke")
    parser.add_argument(
        "--progress", default="auto", help="auto, plain, json or none; auto suits the terminal"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    arguments = parse_arguments(argv)
    started = time.monotonic()
    private_domain()
    try:
        folder = config_directory() / "demo"
        path = folder / f"{arguments.profile}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
            raise ConfigError(f"profile {arguments.profile}", expected=known)
        profile = load_config(DemoProfile, path)
        name = "demo" if profile.name == "demo" else f"demo-{profile.name}"
        run = Run(arguments.run or Path("runs") / name)
        progress = make_progress(arguments.progress)
        report = Demo(profile, run, progress).execute()
    except Interrupted as error:
        sys.stderr.write(f"stopped by {error}; the same command goes on from here\n")
        return EXIT_INTERRUPTED
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    minutes = (time.monotonic() - started) / 60
    sys.stdout.write(f"report: {report.resolve()}\nthis call took {minutes:.1f} minutes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
