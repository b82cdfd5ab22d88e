# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The learning stages on a made-up dataset: what they leave behind, and exact resuming."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pydantic
import pytest
import torch

from diwa.agent import Agent
from diwa.config import load_config
from diwa.data.dataset import Dataset
from diwa.errors import ConfigError
from diwa.train.agents import assemble_agent
from diwa.train.experiment import ExperimentConfig, StartConfig
from diwa.train.finetune_stage import require_no_simulator
from diwa.train.labels import SceneLabeller, outcome_labels, start_frames, start_observations
from diwa.train.pipeline import fingerprints, learning_stages, require_sound
from diwa.train.run import Interrupted, Run, StopFlag, run_stages
from diwa.train.windows import WindowSampler, split_episodes
from learning_fixtures import ROOT, pushing_dataset, tiny_experiment

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("simulator_unloaded")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pushing_dataset(tmp_path_factory.mktemp("pushing"))


def _offline_stages(run: Run, dataset: Dataset, config: ExperimentConfig):
    return [s for s in learning_stages(run, dataset, config, CPU) if s.name != "evaluate"]


def _train(path: Path, dataset: Dataset, config: ExperimentConfig, **options: object) -> Run:
    run = Run(path)
    run_stages(run, _offline_stages(run, dataset, config), **options)  # type: ignore[arg-type]
    return run


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _train(tmp_path_factory.mktemp("run"), dataset, tiny_experiment())


def _weights(run: Run, stage: str) -> bytes:
    (path,) = (run.stage_dir(stage) / "model").glob("weights-*.safetensors")
    return path.read_bytes()


def test_stages_leave_models_figures_and_no_simulator_steps(trained: Run) -> None:
    for stage in ("world_model", "policy", "classifier", "gate", "finetune"):
        assert trained.done(stage) is not None
    finetuned = trained.done("finetune")
    assert finetuned is not None
    assert finetuned.result["simulator_steps"] == 0
    assert finetuned.result["train_starts"] > 0
    rows = (trained.stage_dir("finetune") / "metrics.jsonl").read_text().splitlines()
    assert len([row for row in rows if '"kl"' in row]) == 4


def test_referee_is_trained_on_other_episodes_and_decides(
    trained: Run, dataset: Dataset, tmp_path: Path
) -> None:
    config = tiny_experiment(referee={"steps": 9})
    run = _train(tmp_path, dataset, config)
    for stage in ("world_model", "policy", "classifier"):
        assert _weights(run, stage) == _weights(trained, stage), "the referee changes nothing"
    assert _weights(run, "referee_world_model") != _weights(run, "world_model")
    rows = [
        json.loads(line)
        for line in (run.stage_dir("finetune") / "metrics.jsonl").read_text().splitlines()
    ]
    judged = [row for row in rows if "cross_success" in row]
    assert [row["step"] for row in judged] == [1, 3]
    for row in judged:
        assert -1 <= row["exploitation_gap"] <= 1
        assert row["bc_distance"] > 0
    result = run.done("finetune").result
    assert result["judged_adapted"] >= result["judged_base"]
    assert (
        fingerprints(config, dataset)["finetune"]
        != fingerprints(tiny_experiment(), dataset)["finetune"]
    )


def test_interrupted_run_with_a_referee_ends_with_the_same_weights(
    dataset: Dataset, tmp_path: Path
) -> None:
    config = tiny_experiment(referee={})
    counter = _StopAfter(1000)
    whole = _train(tmp_path / "whole", dataset, config, stop=counter)
    for looks in (1000 - counter.looks - 19, 15):  # in the referee's stages
        with pytest.raises(Interrupted):
            _train(tmp_path / "cut", dataset, config, stop=_StopAfter(looks))
    run = _train(tmp_path / "cut", dataset, config)
    for stage in ("referee_world_model", "referee_classifier", "finetune"):
        assert _weights(run, stage) == _weights(whole, stage), stage


class _StopAfter(StopFlag):
    """Stops a run after so many looks at the flag."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def __bool__(self) -> bool:
        self.looks -= 1
        if self.looks < 0:
            self.set("test")
        return bool(self.reason)


@pytest.mark.parametrize("looks", [1, 5, 17, 26, 33, 35])
def test_interrupted_run_ends_with_the_same_weights(
    looks: int, trained: Run, dataset: Dataset, tmp_path: Path
) -> None:
    config = tiny_experiment()
    with pytest.raises(Interrupted):
        _train(tmp_path, dataset, config, stop=_StopAfter(looks))
    torch.manual_seed(999)  # a new process has other global random numbers
    run = _train(tmp_path, dataset, config)
    for stage in ("world_model", "policy", "classifier", "finetune"):
        assert _weights(run, stage) == _weights(trained, stage), stage


def test_finished_stages_are_skipped_and_changed_ones_run_again(
    trained: Run, dataset: Dataset
) -> None:
    before = fingerprints(tiny_experiment(), dataset)
    other = tiny_experiment(ppo={**tiny_experiment().ppo.model_dump(), "actor_lr": 2.0e-5})
    after = fingerprints(other, dataset)
    assert {name for name in before if before[name] != after[name]} == {"finetune", "evaluate"}
    relabelled = fingerprints(tiny_experiment(task="close_drawer"), dataset)
    assert before["world_model"] == relabelled["world_model"]
    assert before["policy"] != relabelled["policy"]


def test_fine_tuning_never_loads_the_simulator(dataset: Dataset, tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from pathlib import Path
from learning_fixtures import tiny_experiment
from diwa.data.dataset import Dataset
from diwa.train.pipeline import learning_stages
from diwa.train.run import Run, run_stages
import torch
run = Run(Path({str(tmp_path)!r}))
data = Dataset.open(Path({str(dataset.path)!r}))
run_stages(run, learning_stages(run, data, tiny_experiment(), torch.device("cpu")),
           until="finetune")
assert "pybullet" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_fine_tuning_refuses_to_run_beside_a_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pybullet", sys)
    with pytest.raises(RuntimeError, match="offline"):
        require_no_simulator()


def test_agent_survives_saving_and_acts_the_same(trained: Run, tmp_path: Path) -> None:
    folders = {
        name: trained.stage_dir(name) / "model" for name in ("world_model", "classifier", "policy")
    }
    agent = assemble_agent(folders, trained.stage_dir("finetune") / "model", CPU)
    agent.save(tmp_path / "checkpoint")
    loaded = Agent.load(tmp_path / "checkpoint")
    assert loaded.skill == "open_drawer"
    rng = np.random.default_rng(0)
    frames = [
        {"proprio": rng.normal(size=18), "scene_state": rng.normal(size=24)} for _ in range(9)
    ]
    frames = [{k: v.astype(np.float32) for k, v in frame.items()} for frame in frames]

    def actions(actor: Agent) -> np.ndarray:
        actor.reset(5)
        action = np.zeros(7, dtype=np.float32)
        rows = []
        for frame in frames:
            action = actor.act(frame, action)
            rows.append(action)
        return np.stack(rows)

    first = actions(agent)
    assert np.array_equal(first, actions(loaded))
    assert np.array_equal(first, actions(loaded))  # reset forgets everything
    assert np.abs(first[:, :6]).max() <= 1
    assert set(np.unique(first[:, 6])) <= {-1.0, 1.0}
    assert 0 <= loaded.success_probability() <= 1


def test_agent_names_the_observation_that_is_missing(trained: Run, tmp_path: Path) -> None:
    folders = {
        name: trained.stage_dir(name) / "model" for name in ("world_model", "classifier", "policy")
    }
    agent = assemble_agent(folders, folders["policy"], CPU)
    with pytest.raises(ConfigError, match="scene_state"):
        agent.observe({"proprio": np.zeros(18, dtype=np.float32)}, np.zeros(7))


def test_gate_refuses_a_model_that_predicts_worse_than_stillness(
    dataset: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="does not pass the gate"):
        _train(tmp_path, dataset, tiny_experiment(claim=True))
    assert Run(tmp_path).done("finetune") is None


def test_training_refuses_a_dataset_with_a_broken_shard(tmp_path: Path) -> None:
    dataset = pushing_dataset(tmp_path / "data", play=2, demos=1)
    require_sound(dataset.path)
    shard = dataset.path / "shards" / "proprio" / "play-1.npy"
    shard.write_bytes(shard.read_bytes()[:-40])
    with pytest.raises(ConfigError, match=r"play-1.npy[^$]*dataset doctor"):
        require_sound(dataset.path)


def test_windows_pair_each_frame_with_the_action_before_it(dataset: Dataset) -> None:
    sampler = WindowSampler(dataset, ["play-1"], ["proprio", "scene_state"], 12)
    batch = sampler.sample(20, torch.Generator().manual_seed(0))
    action = np.asarray(dataset.array("play-1", "action"))
    proprio = np.asarray(dataset.array("play-1", "proprio"))
    for row, start in enumerate(batch.start.tolist()):
        assert np.array_equal(batch.previous_action[row, 1:].numpy(), action[start : start + 11])
        assert batch.previous_action[row, 0].tolist() == [0, 0, 0, 0, 0, 0, 1]
        moved = np.diff(batch.observation["proprio"][row, :, :3].numpy(), axis=0)
        expected = 0.02 * batch.previous_action[row, 1:, :3].numpy()
        np.testing.assert_allclose(moved, expected, atol=1e-5)
        assert np.array_equal(
            batch.observation["proprio"][row, 1:].numpy(), proprio[start + 1 : start + 12]
        )
    assert bool(batch.is_first[:, 0].all())
    assert not bool(batch.is_first[:, 1:].any())


def test_every_window_start_is_equally_likely(dataset: Dataset) -> None:
    sampler = WindowSampler(dataset, ["demo-0", "play-0"], ["proprio"], 30)
    batch = sampler.sample(20_000, torch.Generator().manual_seed(1))
    counts = np.bincount(batch.episode)
    assert counts[0] / counts.sum() == pytest.approx(11 / (11 + 131), abs=0.01)
    assert batch.start[batch.episode == 0].max() == 10


def test_held_out_episodes_are_never_trained_on(dataset: Dataset) -> None:
    train, held = split_episodes(dataset, "play", 0.2, seed=3)
    assert held
    assert not set(train) & set(held)
    assert sorted(train + held) == [f"play-{index}" for index in range(4)]


def test_labels_need_success_from_every_demonstrations_start(dataset: Dataset) -> None:
    labeller = SceneLabeller.of(dataset, "open_drawer")
    scene = np.zeros((3, 24), dtype=np.float32)
    scene[:, 1] = [0.0, 0.11, 0.14]
    assert labeller.success(scene).tolist() == [False, False, True]
    assert labeller.unsolved(scene, 0.02).tolist() == [True, False, False]
    assert outcome_labels(5, 2).tolist() == [False, False, False, True, True]


def test_starts_are_unsolved_and_near_the_demonstrations(dataset: Dataset) -> None:
    config = StartConfig(margin=0.03, max_step=0.02)
    starts = start_frames(dataset, "open_drawer", ["play-0", "play-1"], config)
    assert len(starts) > 5
    for name, frame in starts:
        assert abs(dataset.array(name, "scene_state")[frame, 1]) <= 0.02 + 1e-6
    arrays = start_observations(dataset, starts, ["proprio"])
    assert set(arrays["proprio"][:, 17].tolist()) == {1.0}
    demo = start_frames(dataset, "open_drawer", [], StartConfig(source="demo"))
    assert demo == [("demo-0", 0), ("demo-1", 0), ("demo-2", 0)]


def test_missing_demonstrations_are_a_clear_error(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="no successful demonstration of turn_on_led"):
        SceneLabeller.of(dataset, "turn_on_led")


def test_stages_run_on_images_with_the_vision_experiments_inputs(tmp_path: Path) -> None:
    vision = load_config(ExperimentConfig, ROOT / "config" / "experiments" / "calvin_vision.yaml")
    inputs = [item.model_dump() for item in vision.world_model.inputs]
    small = {"deter": 16, "stoch": 4, "classes": 4, "hidden": 16, "embed": 16, "cnn_depth": 2}
    tiny = tiny_experiment()
    training = {**tiny.world_model_training.model_dump(), "steps": 3, "batch": 2, "eval_every": 3}
    gate = {"horizons": [1, 5], "dreams": 4, "judge_horizon": 5}
    config = tiny_experiment(
        world_model={"inputs": inputs, **small}, world_model_training=training, gate=gate
    )
    dataset = pushing_dataset(tmp_path / "data", play=3, demos=2, cameras=True)
    run = _train(tmp_path / "run", dataset, config)
    finetuned = run.done("finetune")
    assert finetuned is not None
    rows = (run.stage_dir("world_model") / "metrics.jsonl").read_text()
    assert "recon_rgb_static" in rows
    assert "recon_rgb_gripper" in rows
    assert "recon_proprio" not in rows  # the paper does not reconstruct it
    gate_dir = run.stage_dir("gate")
    report = json.loads((gate_dir / "open_loop.json").read_text())
    assert set(report["images"]) == {"rgb_static", "rgb_gripper"}
    assert all(-1 <= value <= 1 for value in report["images"]["rgb_static"]["ssim"])
    assert report["position_drift_m"] is None  # proprioception is not decoded
    strips = sorted(path.name for path in gate_dir.glob("dream-*.png"))
    assert len(strips) == 6
    strip = cv2.imread(str(gate_dir / strips[0]), cv2.IMREAD_UNCHANGED)
    assert strip.shape[0] == 2 * 64 + 4


@pytest.mark.parametrize("offset", [1000, -2])
def test_referee_has_another_seed_than_the_model_it_judges(offset: int) -> None:
    config = tiny_experiment(referee={"seed": offset})
    assert config.of_referee().seed == config.seed + offset
    with pytest.raises(pydantic.ValidationError, match="the same model"):
        tiny_experiment(referee={"seed": 0})


def test_an_iteration_holds_whole_dreams() -> None:
    plain = tiny_experiment().model_dump(mode="json")
    plain["ppo"]["chunks"] = plain["dream"]["max_chunks"]
    assert ExperimentConfig.model_validate(plain).ppo.chunks == 3
    plain["ppo"]["chunks"] = 2
    with pytest.raises(pydantic.ValidationError, match=r"ppo.chunks is 2, dream.max_chunks is 3"):
        ExperimentConfig.model_validate(plain)
