# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The `diwa` command: what it teaches, what it does, and how it ends."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from diwa import commands
from diwa.arguments import make_parser, parse
from diwa.cli import COMMANDS, main
from diwa.commands import ENTRY_POINTS, load_commands
from diwa.data.bags import BagWriter, contract_topics
from diwa.data.contract import Contract
from diwa.data.dataset import Dataset
from diwa.data.episode import EpisodeRecord
from diwa.data.message_types import typestore_for
from diwa.train.stop import Interrupted
from learning_fixtures import ROOT, pushing_dataset, tiny_experiment
from robot_messages import LockstepRobot, rosbags_factory

ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT / "src" / "diwa_ros"),
    "OMP_NUM_THREADS": "1",
}


def start(*arguments: object, module: str = "diwa", **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def helps() -> dict[str, str]:
    """Help text by command, from the parser itself."""
    found: dict[str, str] = {}

    def walk(name: str, parser: argparse.ArgumentParser) -> None:
        found[name] = parser.format_help()
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word, child in action.choices.items():
                    walk(f"{name} {word}", child)

    walk("diwa", make_parser())
    return found


def test_every_command_has_help_with_examples() -> None:
    texts = helps()
    assert {name.removeprefix("diwa ") for name in texts} >= set(COMMANDS)
    for name in COMMANDS:
        assert f"\n  diwa {name} " in texts[f"diwa {name}"].partition("examples:")[2], name


def test_every_example_in_the_help_can_be_typed() -> None:
    examples = {
        match.group(1)
        for text in helps().values()
        for match in re.finditer(r"^  (diwa (?:(?!  ).)+)", text, flags=re.MULTILINE)
    }
    assert len(examples) > 12
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])
        arguments = parse(words[1:])
        assert arguments.command in COMMANDS, example


def test_progress_kinds_are_those_of_the_library() -> None:
    from diwa.commands import options
    from diwa.train import progress

    assert options.PROGRESS_KINDS == progress.PROGRESS_KINDS


def entry_point(value: str) -> EntryPoint:
    return EntryPoint("check-robot", value, ENTRY_POINTS)


def test_another_package_can_add_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entry_point("diwa.commands.report")
    monkeypatch.setattr(commands, "entry_points", lambda group: [entry])
    assert list(load_commands())[-1] == "check-robot"
    assert load_commands()["check-robot"].run is COMMANDS["report"].run


def test_a_command_whose_package_is_missing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "entry_points", lambda group: [entry_point("no_such_package.x")])
    for name, command in load_commands().items():
        monkeypatch.setitem(COMMANDS, name, command)
    assert main(["check-robot", "--contract", "x.yaml"]) == 2
    message = capsys.readouterr().err
    assert "diwa check-robot cannot run here" in message
    assert "install no_such_package" in message


def test_overrides_may_stand_anywhere() -> None:
    needed = ["--config", "c", "--data", "d"]
    for words in (
        ["train", "seed=1", "a.b=2", *needed, "--run", "r"],
        ["train", *needed, "seed=1", "--run", "r", "a.b=2"],
        ["train", *needed, "--run", "r", "seed=1", "a.b=2"],
    ):
        assert parse(words).overrides == ["seed=1", "a.b=2"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["fly"],
        ["dataset"],
        ["report", "run", "a=1"],
        ["train", "--config", "c", "--data", "d", "--run", "r", "--sped", "2", "x=1"],
        ["evaluate", "checkpoint", "--episodes", "0"],
        ["evaluate", "checkpoint", "--seed", "-1"],
        ["dataset", "build", "bags", "--out", "d", "--workers", "many"],
    ],
)
def test_what_cannot_be_parsed_ends_with_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: diwa" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["info", "{0}/nothing"], "nothing that is known here"),
        (["report", "{0}"], "nothing to report"),
        (["dataset", "build", "{0}", "--out", "{0}/out"], "no finished bags"),
        (["evaluate", "{0}/nothing"], "no checkpoint here"),
        (["evaluate", "{0}", "--device", "abacus"], "abacus"),
        (["train", "--config", "{0}/no.yaml", "--data", "{0}", "--run", "{0}/r"], "no such file"),
    ],
)
def test_user_mistakes_are_one_message_and_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.format(tmp_path) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("diwa: ")
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Interrupted("SIGTERM"), 130, "the same command goes on"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), 1, "No space left"),
    ],
)
def test_ends_that_are_no_bugs_show_no_traceback(
    error: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def work(arguments: argparse.Namespace) -> int:
        raise error

    monkeypatch.setitem(COMMANDS, "info", COMMANDS["info"]._replace(run=work))
    assert main(["info", "path"]) == code
    captured = capsys.readouterr().err
    assert message in captured
    assert captured.count("\n") == 1


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(arguments: argparse.Namespace) -> int:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setitem(COMMANDS, "info", COMMANDS["info"]._replace(run=work))
    with pytest.raises(OSError, match="broken disk"):
        main(["info", "path"])


def test_help_and_version_load_no_learning_library() -> None:
    script = "import sys, diwa.cli; assert not {'torch', 'numpy', 'rclpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, check=True)
    for module in ("diwa", "diwa.cli"):
        child = start("--version", module=module)
        assert child.communicate() == ("diwa 0.1.0\n", "")
        assert child.returncode == 0


def write_bag(path: Path, contract: Contract, steps: int) -> None:
    kinds = contract_topics(contract)
    types = typestore_for(set(kinds.values()))
    names = {key: stream.topic for key, stream in contract.observations.items()}
    names["action"] = contract.action.topic
    writer = BagWriter(path, contract, backend="rosbags")
    robot = LockstepRobot(contract, rosbags_factory(contract), 0)
    for index, (key, message) in enumerate(robot.run(steps, first_step=0)):
        data = bytes(types.serialize_cdr(message, kinds[names[key]]))
        writer.write(names[key], 10**9 + index, data)
    writer.close(EpisodeRecord(id=path.name, kind="play", contract=contract))


def test_dataset_build_finds_bags_below_folders(
    tmp_path: Path, lowdim_contract: Contract, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("monday/a", "monday/b", "tuesday/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_bag(tmp_path / name, lowdim_contract, 12)
    words = ["dataset", "build", str(tmp_path / "monday"), str(tmp_path / "tuesday" / "c")]
    out = tmp_path / "out"
    assert main([*words, str(tmp_path / "monday" / "a"), "--out", str(out), "--workers", "0"]) == 0
    dataset = Dataset.open(out)
    assert len(dataset.episodes) == 3
    frames = sum(info.length for info in dataset.episodes)
    assert f"3 episodes, {frames} frames" in capsys.readouterr().out
    assert main(["info", str(out)]) == 0
    assert "3" in capsys.readouterr().out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the tiny experiment, stopped once by a signal and then finished, by command."""
    folder = tmp_path_factory.mktemp("cli")
    pushing_dataset(folder / "data")
    config = tiny_experiment().model_dump(mode="json")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    words = ["train", "--config", folder / "tiny.yaml", "--data", folder / "data"]
    words += ["--run", folder / "run", "--progress", "json", "world_model_training.steps=300"]
    child = start(*words)
    assert child.stdout is not None
    for line in child.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["stage"] == "world_model":
            break
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 130, errors
    assert "Traceback" not in errors
    assert "diwa: stopped; the same command goes on" in errors
    again = start(*words)
    output, errors = again.communicate()
    assert again.returncode == 0, errors
    events = [json.loads(line) for line in output.splitlines()]
    first = next(event for event in events if event["event"] == "start")
    assert first["stage"] == "world_model"
    assert first["done"] > 0  # it went on
    return folder / "run"


def test_train_stops_at_a_signal_and_goes_on_to_a_report(trained: Path) -> None:
    assert json.loads((trained / "summary.json").read_text())["verdict"]["decision"] == "no claim"
    assert "No claim" in (trained / "report.html").read_text()
    assert json.loads((trained / "config.json").read_text())["world_model_training"]["steps"] == 300


def test_info_describes_a_run_and_its_checkpoint(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(trained)]) == 0
    assert "finetune" in capsys.readouterr().out
    assert main(["info", str(trained / "checkpoint")]) == 0
    assert "open_drawer" in capsys.readouterr().out


def test_report_writes_again_and_says_where(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "report.html").unlink()
    assert main(["report", str(trained)]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == trained / "report.html"
    assert path.stat().st_size > 10_000


def test_evaluate_compares_two_checkpoints_on_the_same_seeds(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(trained / "checkpoint"), "--base", str(trained / "checkpoint")]
    words += ["--episodes", "3", "--seed", "5", "--max-steps", "6", "--progress", "none"]
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["skill"] == "open_drawer"
    assert figures["seeds"] == [5, 6, 7]
    assert figures["outcomes"]["base"] == figures["outcomes"]["adapted"]
    assert figures["difference"] == 0
    assert figures["difference_interval"][0] < 0 < figures["difference_interval"][1]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "open_drawer: 3 episodes, seeds 5 to 7" in text
    assert "difference  +0.0 points" in text


def test_evaluate_one_checkpoint(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(trained / "checkpoint"), "--episodes", "2", "--max-steps", "4"]
    assert main([*words, "--json", "--progress", "none"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert len(figures["outcomes"]["adapted"]) == 2
    assert "difference" not in figures


def test_a_closed_pipe_is_no_traceback(trained: Path) -> None:
    child = start("info", trained)
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    errors = child.stderr.read()
    child.stderr.close()
    assert child.wait() == 1
    assert errors == ""
