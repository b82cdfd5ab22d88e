# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The trainer: a child process that reports, saves when canceled, and goes on."""

from __future__ import annotations

import json
import os
import signal

import pytest
import yaml
from diwa_msgs.action import Train
from rclpy.action import ActionClient

from learning_fixtures import pushing_dataset, tiny_experiment

Result = Train.Result
LAST = "classifier"
LONG = "world_model_training.steps=3000"  # long enough to be canceled for certain


class Training:
    """A goal and what comes back."""

    def __init__(self, graph, *overrides, **fields):
        self.statuses = []
        client = ActionClient(graph.node, Train, "trainer/train")
        graph.wait_until(client.server_is_ready, "trainer")
        graph.settle()
        goal = Train.Goal(
            config_path=str(graph.folder / "tiny.yaml"),
            dataset_path=str(graph.folder / "dataset"),
            run_path=str(graph.folder / "run"),
            until_stage=LAST,
            overrides=overrides,
        )
        for name, value in fields.items():
            setattr(goal, name, value)
        future = client.send_goal_async(
            goal, feedback_callback=lambda message: self.statuses.append(message.feedback.status)
        )
        self.handle = graph.result_of(future, "goal response")
        self._graph = graph
        self._future = self.handle.get_result_async()

    def result(self):
        return self._graph.result_of(self._future, "result").result

    def cancel(self):
        self._graph.result_of(self.handle.cancel_goal_async(), "cancel response")


@pytest.fixture
def trainer(graph, lowdim_contract):
    pushing_dataset(graph.folder / "dataset")
    plain = tiny_experiment().model_dump(mode="json")
    (graph.folder / "tiny.yaml").write_text(yaml.safe_dump(plain))
    return graph.start("trainer", save_timeout_s=30.0)


def steps_done(run, stage):
    lines = (run / "stages" / stage / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_trainer_runs_the_stages_and_reports_progress(graph, trainer):
    training = Training(graph)
    result = training.result()
    assert (result.success, result.error_code, result.error_msg) == (True, Result.NONE, "")
    assert result.run_path == str(graph.folder / "run")
    assert (graph.folder / "run" / "stages" / LAST / "done.json").is_file()
    last = training.statuses[-1]
    assert last.stage == LAST
    assert last.run == result.run_path
    assert last.stages > last.stage_index > 0
    json.loads(last.metrics_json)


def test_canceled_training_saves_and_the_same_goal_goes_on(graph, trainer):
    run = graph.folder / "run"
    training = Training(graph, LONG)
    graph.wait_until(
        lambda: any(s.stage == "world_model" and s.progress > 0 for s in training.statuses),
        "progress",
    )
    training.cancel()
    canceled = training.result()
    assert (canceled.success, canceled.error_code) == (False, Result.CANCELED)
    assert not (run / "stages" / "world_model" / "done.json").exists()
    again = Training(graph, LONG)
    graph.wait_until(lambda: again.statuses and again.statuses[-1].progress > 0, "progress")
    assert again.statuses[-1].progress > 0
    assert "pid" in json.loads((run / "lock").read_text())
    again.cancel()
    assert again.result().error_code == Result.CANCELED
    parts = json.loads((run / "stages" / "world_model" / "parts.json").read_text())["parts"]
    assert len(parts) == 2


def test_trainer_refuses_a_second_run_and_bad_goals(graph, trainer):
    training = Training(graph, LONG)
    graph.wait_until(lambda: training.statuses, "status")
    assert Training(graph).result().error_code == Result.BUSY
    training.cancel()
    assert training.result().error_code == Result.CANCELED
    missing = Training(graph, dataset_path=str(graph.folder / "nothing")).result()
    assert missing.error_code == Result.BAD_GOAL and "no dataset there" in missing.error_msg
    unknown = Training(graph, "no_such_key=1").result()
    assert unknown.error_code == Result.BAD_GOAL and "no_such_key" in unknown.error_msg


def test_stopping_the_trainer_ends_the_child(graph, trainer):
    training = Training(graph, LONG)
    graph.wait_until(lambda: training.statuses and training.statuses[-1].stage, "status")
    pid = json.loads((graph.folder / "run" / "lock").read_text())["pid"]
    trainer.send(signal.SIGINT)
    assert trainer.wait(40) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
