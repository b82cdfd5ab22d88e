# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation in the simulator: the same loop as serving, paired, exact, and resumable."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diwa.control.filter import SafetyFilter, SafetyLimits
from diwa.data.contract import Contract, load_contract
from diwa.data.frames import compose_observation
from diwa.errors import ConfigError
from diwa.sim.evaluate import EpisodeResult, evaluate
from diwa.sim.play_table import PlayTableConfig, PlayTableEnv
from diwa.sim.skills import ScriptedSkill, SkillStyle
from diwa.train.progress import JsonProgress
from diwa.train.stop import Interrupted, StopFlag
from diwa.train.strips import StripRecorder

CONTRACTS = Path(__file__).resolve().parents[1] / "config" / "contracts"
CONTRACT = load_contract(CONTRACTS / "panda_calvin_lowdim.yaml")
BULB = 4  # index into a scene


class Wanderer:
    """Random actions; keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
        self.resets: list[int | None] = []

    def reset(self, seed: int | None = None) -> None:
        self.resets.append(seed)
        self.rng = np.random.default_rng(seed)

    def act(self, observation: dict[str, np.ndarray], previous_action: np.ndarray) -> np.ndarray:
        self.seen.append((observation, previous_action.copy()))
        return self.rng.uniform(-1, 1, 7)


@pytest.fixture
def solvable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Episodes of even seeds are solved at their third step."""
    reset, step = PlayTableEnv.reset, PlayTableEnv.step

    def new_reset(env: PlayTableEnv, *, seed: int, options: dict) -> tuple:
        env.even = seed % 2 == 0  # type: ignore[attr-defined]
        return reset(env, seed=seed, options=options)

    def new_step(env: PlayTableEnv, action: np.ndarray) -> tuple:
        observation, *_, info = step(env, action)
        solved = env.even and env.episode_steps == 3  # type: ignore[attr-defined]
        return observation, float(solved), solved, False, info

    monkeypatch.setattr(PlayTableEnv, "reset", new_reset)
    monkeypatch.setattr(PlayTableEnv, "step", new_step)


def run(
    actor: Wanderer, seeds: list[int], steps: int = 5, **options: object
) -> list[EpisodeResult]:
    return evaluate(
        actor,
        "turn_on_lightbulb",
        seeds,
        contract=CONTRACT,
        max_steps=steps,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.usefixtures("solvable")
def test_results_come_in_the_order_of_the_seeds() -> None:
    assert run(Wanderer(), [3, 8, 4]) == [
        EpisodeResult(3, False, 5),
        EpisodeResult(8, True, 3),
        EpisodeResult(4, True, 3),
    ]


def test_an_episode_depends_on_its_seed_alone() -> None:
    alone, together = Wanderer(), Wanderer()
    run(alone, [7])
    run(together, [1, 2, 7])
    last = together.seen[-5:]
    assert together.resets == [1, 2, 7]
    for (first, before), (second, after) in zip(alone.seen, last, strict=True):
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)
        np.testing.assert_array_equal(before, after)


def test_seeds_draw_different_starts_with_the_task_undone() -> None:
    actor = Wanderer()
    run(actor, list(range(6)), steps=1)
    starts = [observation["proprio"][:3] for observation, _ in actor.seen]
    assert len({tuple(start) for start in starts}) == 6
    assert all(observation["scene_state"][BULB] == 0 for observation, _ in actor.seen)


def test_the_actor_sees_what_the_contract_says() -> None:
    actor = Wanderer()
    run(actor, [0])
    observation, previous = actor.seen[0]
    assert {key: (value.shape, value.dtype.name) for key, value in observation.items()} == {
        "proprio": ((18,), "float32"),
        "scene_state": ((24,), "float32"),
    }
    assert previous.dtype == np.float32
    np.testing.assert_array_equal(previous, CONTRACT.action.neutral)


def test_the_executed_action_comes_back_and_not_the_requested_one() -> None:
    """Replays the loop by hand: environment, filter and composition must agree at every step."""

    class Reckless(Wanderer):
        def act(self, observation: dict, previous_action: np.ndarray) -> np.ndarray:
            super().act(observation, previous_action)
            step = len(self.seen)
            if step == 3:
                return np.full(7, np.nan)
            return np.array([5.0, 0.0, 1.0, 0.0, 0.0, 0.3, -0.2])

    actor = Reckless()
    run(actor, [4], steps=12)
    env = PlayTableEnv(PlayTableConfig())
    observation, _ = env.reset(seed=4, options={"task": "turn_on_lightbulb"})
    safety = SafetyFilter(SafetyLimits.from_contract(CONTRACT))
    action = np.array(CONTRACT.action.neutral, dtype=np.float32)
    replay = Reckless()
    replay.reset(4)
    for seen, previous in actor.seen:
        np.testing.assert_array_equal(previous, action)
        raw = {
            "ee_pose": env.tcp_pose,
            "joint_states": env.joint_positions,
            "scene_state": observation["scene_obs"],
        }
        expected = compose_observation(CONTRACT, raw, action)
        for key, value in expected.items():
            np.testing.assert_array_equal(seen[key], value, err_msg=key)
        requested = replay.act(seen, previous)
        action = safety.filter(requested, env.target_pose, env.tcp_pose).action
        observation, *_ = env.step(action)
    env.close()
    assert safety.counts.rejected == 1
    assert safety.counts.clipped > 5
    assert np.abs([previous for _, previous in actor.seen]).max() <= 1.0


class Script:
    """A scripted skill that sees only what the contract shows to a policy."""

    def reset(self, seed: int | None = None) -> None:
        rng = np.random.default_rng(seed)
        self.skill = ScriptedSkill("open_drawer", SkillStyle.sample(rng), rng)

    def act(self, observation: dict[str, np.ndarray], previous_action: np.ndarray) -> np.ndarray:
        proprio = observation["proprio"].astype(np.float64)
        first, second = proprio[3:6], proprio[6:9]
        rotation = Rotation.from_matrix(np.stack([first, second, np.cross(first, second)], axis=1))
        robot = np.concatenate([proprio[:3], rotation.as_euler("xyz"), proprio[9:]])
        return self.skill.act(robot, observation["scene_state"])


def test_a_scripted_skill_succeeds_through_the_whole_loop() -> None:
    results = evaluate(Script(), "open_drawer", range(6), contract=CONTRACT, max_steps=300)
    assert sum(result.success for result in results) >= 5
    assert all(20 < result.steps < 300 for result in results if result.success)


def test_images_are_resized_as_the_contract_says() -> None:
    contract = load_contract(CONTRACTS / "panda_calvin.yaml")
    actor = Wanderer()
    evaluate(actor, "open_drawer", [0], contract=contract, max_steps=1)
    observation, _ = actor.seen[0]
    for key in ("rgb_static", "rgb_gripper"):
        assert observation[key].shape == (64, 64, 3)
        assert observation[key].dtype == np.uint8
        assert observation[key].std() > 5


def test_another_action_scale_of_the_contract_is_simulated() -> None:
    slow = CONTRACT.model_copy(
        update={"action": CONTRACT.action.model_copy(update={"position_m_per_unit": 0.002})}
    )

    class Up(Wanderer):
        def act(self, observation: dict, previous_action: np.ndarray) -> np.ndarray:
            super().act(observation, previous_action)
            return np.array([0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 1.0])

    def height(contract: Contract) -> float:
        actor = Up()
        evaluate(actor, "open_drawer", [1], contract=contract, max_steps=6)
        return float(actor.seen[-1][0]["proprio"][2] - actor.seen[0][0]["proprio"][2])

    assert height(CONTRACT) > 0.003
    assert abs(height(slow)) < 0.3 * height(CONTRACT)


@pytest.mark.usefixtures("solvable")
def test_a_cut_evaluation_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, stop, seeds = tmp_path / "results.jsonl", StopFlag(), [10, 11, 12, 13]
    whole = run(Wanderer(), seeds)

    class Impatient(Wanderer):
        def reset(self, seed: int | None = None) -> None:
            super().reset(seed)
            if len(self.resets) == 2:
                stop.set("test")

    with pytest.raises(Interrupted, match="test"):
        run(Impatient(), seeds, stop=stop, results_path=path)
    assert [json.loads(line)["seed"] for line in path.read_text().splitlines()] == [10, 11]
    with path.open("a") as stream:
        stream.write('{"seed": 12, "succ')  # and a crash
    rest = Wanderer()
    assert run(rest, seeds, results_path=path) == whole
    assert rest.resets == [12, 13]
    assert run(rest, seeds, results_path=path) == whole  # nothing left to do
    assert rest.resets == [12, 13]


@pytest.mark.usefixtures("solvable")
def test_progress_shows_episodes_and_success() -> None:
    stream = io.StringIO()
    run(
        Wanderer(),
        [0, 1],
        progress=JsonProgress(stream, interval=0.0),
        name="adapted policy",
    )
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(event["event"], event["done"], event["name"]) for event in events] == [
        ("start", 0, "adapted policy"),
        ("progress", 1, "adapted policy"),
        ("progress", 2, "adapted policy"),
        ("finish", 2, "adapted policy"),
    ]
    assert events[-1]["metrics"] == {"success": 0.5}


def test_the_simulator_is_closed_when_the_actor_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    original = PlayTableEnv.close

    def close(env: PlayTableEnv) -> None:
        closed.append(True)
        original(env)

    class Broken(Wanderer):
        def act(self, observation: dict, previous_action: np.ndarray) -> np.ndarray:
            raise RuntimeError("broken policy")

    monkeypatch.setattr(PlayTableEnv, "close", close)
    with pytest.raises(RuntimeError, match="broken policy"):
        run(Broken(), [0])
    assert closed == [True]


def test_an_unknown_task_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="open_drawer"):
        evaluate(Wanderer(), "make_coffee", [0], contract=CONTRACT, max_steps=1)


def test_a_recorder_sees_frames_without_cameras_in_the_contract() -> None:
    recorder = StripRecorder(episodes=1, every=2)
    run(Wanderer(), [0, 1], recorder=recorder)
    assert list(recorder.frames) == [0]
    assert [frame.shape for frame in recorder.frames[0]] == [(200, 200, 3)] * 3


def test_looking_on_changes_nothing() -> None:
    def noisy(episode: int, step: int, render: Callable[[], np.ndarray]) -> None:
        render()

    watched, unwatched = Wanderer(), Wanderer()
    run(watched, [5], steps=8, recorder=noisy)
    run(unwatched, [5], steps=8)
    for (first, _), (second, _) in zip(watched.seen, unwatched.seen, strict=True):
        np.testing.assert_array_equal(first["proprio"], second["proprio"])
