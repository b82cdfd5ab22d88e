# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What can be switched off to see why it is there: classifier reward, gate, other starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from diwa.data.contract import load_contract
from diwa.data.dataset import Dataset, DatasetWriter
from diwa.errors import ConfigError
from diwa.reward.decoded import DecodedSuccess
from diwa.sim.tasks import SKILLS, find_task, task_succeeded
from diwa.train.classifier_stage import labelled_latents, split_demos
from diwa.train.experiment import ExperimentConfig
from diwa.train.loop import Randomness
from diwa.train.pipeline import fingerprints, learning_stages
from diwa.train.progress import NullProgress
from diwa.train.rewards import decoded_success
from diwa.train.run import Run, StopFlag, run_stages
from diwa.world_model.config import InputConfig
from learning_fixtures import ROOT, pushing_dataset, tiny_experiment, tiny_world_model

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("simulator_unloaded")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pushing_dataset(tmp_path_factory.mktemp("ablations"))


class _Messages(NullProgress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def _train(path: Path, dataset: Dataset, config: ExperimentConfig, progress=None) -> Run:
    run = Run(path)
    stages = learning_stages(run, dataset, config, CPU)
    run_stages(run, stages, progress, until="finetune")
    return run


def _gate(run: Run) -> dict:
    return json.loads((run.stage_dir("gate") / "open_loop.json").read_text())


def _tiny(section: str, **changes: object) -> ExperimentConfig:
    plain = getattr(tiny_experiment(), section).model_dump()
    return tiny_experiment(**{section: {**plain, **changes}})


def _skill_dataset(path: Path, task: str) -> Dataset:
    """Two demonstrations that begin in slightly different scenes."""
    contract = load_contract(ROOT / "config/contracts/panda_calvin_lowdim.yaml")
    writer = DatasetWriter(path, contract)
    spec = find_task(task)
    unsolved = spec.travel / 2 if abs(spec.change) < 1 else float(spec.change < 0)
    for index, shift in enumerate((0.0, 0.01)):
        scene = np.zeros((5, 24), dtype=np.float32)
        scene[:, spec.index] = unsolved + (shift if abs(spec.change) < 1 else 0)
        arrays = {
            "proprio": np.zeros((5, 18), np.float32),
            "scene_state": scene,
            "action": np.zeros((4, 7), np.float32),
        }
        writer.add_episode(f"demo-{index}", "demo", task, "success", arrays)
    return writer.finish()


@pytest.mark.parametrize("task", SKILLS)
def test_decoded_reward_is_the_tasks_condition_on_the_decoded_scene(
    task: str, tmp_path: Path
) -> None:
    dataset = _skill_dataset(tmp_path, task)
    model = tiny_world_model(
        inputs=(InputConfig(key="proprio"), InputConfig(key="scene_state", indices=(5, 4, 1, 0)))
    )
    model.decoder.head[-1].weight.data.mul_(3)  # decoded scenes of all kinds
    judge = decoded_success(model, dataset, task)
    latent = torch.randn(4000, model.config.feat, generator=torch.Generator().manual_seed(1))
    decoded = model.decode(latent)["scene_state"].detach().numpy()
    scene = np.zeros((len(latent), 24), dtype=np.float32)
    scene[:, [5, 4, 1, 0]] = decoded
    starts = [dataset.array(f"demo-{index}", "scene_state")[0] for index in (0, 1)]
    expected = np.all([task_succeeded(task, start, scene) for start in starts], axis=0)
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(judge(latent).numpy(), expected.astype(np.float32))
    assert judge(latent[:6].view(2, 3, -1)).shape == (2, 3)
    assert not list(judge.parameters()), "the world model's weights are not its own"


def test_decoded_reward_needs_a_world_model_that_predicts_the_scene(tmp_path: Path) -> None:
    dataset = _skill_dataset(tmp_path, "open_drawer")
    for inputs in (
        (InputConfig(key="proprio"),),
        (InputConfig(key="proprio"), InputConfig(key="scene_state", indices=(0, 5))),
        (InputConfig(key="proprio"), InputConfig(key="scene_state", recon_scale=0.0)),
    ):
        with pytest.raises(ConfigError, match=r"predicts entry 1 of scene_state[^$]*classifier"):
            decoded_success(tiny_world_model(inputs=inputs), dataset, "open_drawer")


def test_decoded_reward_changes_fine_tuning_only(dataset: Dataset, tmp_path: Path) -> None:
    before = fingerprints(tiny_experiment(), dataset)
    config = _tiny("dream", reward="decoded")
    after = fingerprints(config, dataset)
    assert {n for n in before if before[n] != after[n]} == {"gate", "finetune", "evaluate"}
    run = _train(tmp_path / "run", dataset, config)
    assert run.done("finetune").result["simulator_steps"] == 0
    with_referee = config.model_copy(update={"referee": tiny_experiment(referee={}).referee})
    judged = _train(tmp_path / "judged", dataset, with_referee).done("finetune").result
    assert judged["exploitation_gap_base"] is not None


@pytest.mark.parametrize("dreams", ["recorded", "decoded", "none"])
def test_classifier_learns_dreams_as_they_are_labelled(dataset: Dataset, dreams: str) -> None:
    config = _tiny("classifier_training", dreams=dreams, dream_context=2, dream_horizon=20)
    model = tiny_world_model(
        inputs=(InputConfig(key="proprio"), InputConfig(key="scene_state", indices=(1,)))
    )
    model.decoder.head[-1].weight.data.mul_(3)  # decoded drawers of all kinds
    ids = [episode.id for episode in dataset.episodes if episode.kind == "play"]
    random = Randomness(1, CPU)
    latents, labels = labelled_latents(model, dataset, config, ids, 2000, random, StopFlag())
    assert len(latents) == len(labels) == 2000
    window = 22 * 64
    recorded, dreamed = latents[:window], slice(window, None)
    decoded = decoded_success(model, dataset, "open_drawer")
    assert 0 < decoded(latents).mean() < 1
    same = decoded(latents[dreamed]) == labels[dreamed]
    assert bool(same.all()) == (dreams == "decoded")
    if dreams == "recorded":  # the moments that the window went on to
        truth = labels[:window].view(64, 22)[:, 2:].flatten()
        assert torch.equal(labels[dreamed], truth[: 2000 - window])
    assert bool((decoded(recorded) != labels[:window]).any()), "what was seen has its own labels"


def test_gate_is_off_only_when_told_so_and_says_it(dataset: Dataset, tmp_path: Path) -> None:
    config = tiny_experiment(claim=True)
    with pytest.raises(ConfigError, match="does not pass the gate"):
        _train(tmp_path / "on", dataset, config)
    off = config.model_copy(update={"gate": config.gate.model_copy(update={"enforce": False})})
    messages = _Messages()
    run = _train(tmp_path / "off", dataset, off, messages)
    assert any("gate is off" in text and "no change" in text for text in messages.texts)
    assert _gate(run)["failed"] and not _gate(run)["enforced"]
    assert run.done("gate").result["enforced"] is False
    assert run.done("finetune") is not None


def test_gate_measures_the_classifier_on_demonstrations_it_never_saw(
    dataset: Dataset, tmp_path: Path
) -> None:
    all_used = tiny_experiment()
    assert split_demos(dataset, all_used) == (["demo-0", "demo-1", "demo-2"], [])
    some = _tiny("policy_training", demos=2)
    assert split_demos(dataset, some) == (["demo-0", "demo-1"], ["demo-2"])
    held_by_seed = [
        split_demos(
            dataset, _tiny("classifier_training", holdout=0.34).model_copy(update={"seed": s})
        )
        for s in range(20)
    ]
    assert all(len(train) == 2 and len(held) == 1 for train, held in held_by_seed)
    assert {held[0] for _, held in held_by_seed} == {"demo-0", "demo-1", "demo-2"}
    report = _gate(_train(tmp_path / "some", dataset, some))["classifier"]
    assert report["threshold"] == some.dream.success_threshold
    held = report["held_out_demonstrations"]
    assert held["demonstrations"] == 1
    for row in (held, report["dreamed"]):
        for name in ("auc", "precision", "recall", "calibration_error"):
            assert row[name] is None or 0 <= row[name] <= 1
    unseen = _gate(_train(tmp_path / "all", dataset, all_used))["classifier"]
    assert unseen["held_out_demonstrations"] is None


def test_gate_judges_by_demonstrations_where_play_has_no_labels(
    dataset: Dataset, tmp_path: Path
) -> None:
    plain = tiny_experiment()
    labels = {**plain.classifier_training.model_dump(), "labels": "outcome"}
    config = tiny_experiment(
        classifier_training=labels,
        policy_training={**plain.policy_training.model_dump(), "demos": 2},
    )
    report = _gate(_train(tmp_path, dataset, config))
    assert report["auc"] is not None
    # Ten of forty frames are successes by outcome; in play the labels would mean nothing.
    assert report["classifier"]["held_out_demonstrations"]["auc"] is not None


def test_a_threshold_never_reached_is_no_success() -> None:
    model = tiny_world_model()
    judge = DecodedSuccess(model, "scene_state", 1, 1e9, above=True)
    assert judge(torch.randn(5, model.config.feat)).tolist() == [0.0] * 5


def test_learning_ends_with_a_score_that_is_enough(dataset: Dataset, tmp_path: Path) -> None:
    config = _tiny("ppo", enough=0.0)
    assert config.ppo.iterations > config.ppo.eval_every
    run = _train(tmp_path / "run", dataset, config)
    log = (run.stage_dir("finetune") / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in log]
    assert max(steps) == config.ppo.eval_every - 1
