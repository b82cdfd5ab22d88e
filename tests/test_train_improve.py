# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""When learning goes on, goes back or ends, by scores that the tests make up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from diwa.policy.config import PolicyConfig
from diwa.policy.diffusion import DiffusionPolicy
from diwa.rl.config import PPOConfig
from diwa.rl.environment import StepResult
from diwa.train import finetune_stage
from diwa.train.finetune_stage import finetune
from diwa.train.improve import improve
from diwa.train.keeper import Keeper
from diwa.train.metrics import MetricsLog, read_metrics
from diwa.train.models import load_policy, save_policy
from diwa.train.progress import NullProgress
from diwa.train.run import StageContext, StopFlag
from learning_fixtures import tiny_experiment

CPU = torch.device("cpu")
FEAT, LR = 5, 1.0e-3
SETTINGS = {
    "iterations": 20,
    "chunks": 3,
    "epochs": 1,
    "actor_lr": LR,
    "critic_hidden": 8,
    "warmup_iterations": 0,
    "critic_iterations": 0,
    "bc_samples": 8,
    "eval_every": 1,
    "collapse_drop": 0.3,
}


@dataclass(frozen=True)
class Score:
    """A judgement that says one thing only."""

    decisive: float
    dream: float = 0.0
    gap: float = 0.0

    def figures(self) -> dict[str, float]:
        return {"held_out_dream_success": self.decisive}


@dataclass
class Judge:
    """Gives scores in turn; remembers the weights that it gave them to."""

    scores: list[float]
    weights: list[Tensor] = field(default_factory=list)

    def __call__(self, policy: DiffusionPolicy) -> Score:
        self.weights.append(_tuned(policy))
        return Score(self.scores[len(self.weights) - 1])


class Wander:
    """Some numbers that nothing changes; in rollout `broken` they are none."""

    count = 6

    def __init__(self, broken: int = 0) -> None:
        self.broken = broken
        self.rollouts = 0

    def reset(self, generator: torch.Generator) -> Tensor:
        self.rollouts += 1
        return torch.randn(self.count, FEAT, generator=generator)

    def step(self, chunk: Tensor, generator: torch.Generator) -> StepResult:
        solved = torch.rand(self.count, generator=generator) < 0.3
        latent = torch.randn(self.count, FEAT, generator=generator)
        final = latent * torch.nan if self.rollouts == self.broken else latent
        return StepResult(latent, final, solved.float(), solved, torch.zeros_like(solved))


def _tuned(policy: DiffusionPolicy) -> Tensor:
    assert policy.tuned is not None
    return torch.cat([value.detach().flatten() for value in policy.tuned.parameters()])


def _policy() -> DiffusionPolicy:
    torch.manual_seed(0)
    return DiffusionPolicy(PolicyConfig(hidden=12, steps=4, finetune_steps=2), FEAT)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[StageContext]:
    metrics = MetricsLog(tmp_path, tensorboard=False)
    yield StageContext(tmp_path, NullProgress(), metrics, StopFlag())
    metrics.close()


def _improve(
    context: StageContext,
    base: float,
    scores: list[float],
    *,
    enough: float | None = None,
    broken: int = 0,
    **changes: object,
) -> tuple[Keeper, DiffusionPolicy, Judge]:
    policy, judge = _policy(), Judge(scores)
    keeper = improve(
        context,
        "test",
        policy,
        Wander(broken),
        judge,
        PPOConfig.model_validate({**SETTINGS, **changes}),
        base=Score(base),
        seed=3,
        enough=enough,
    )
    return keeper, policy, judge


def test_patience_counts_judgements_since_the_best_and_ties_are_no_better(
    context: StageContext,
) -> None:
    scores = [0.4, 0.55, 0.5, 0.6, 0.6, 0.59, 0.6]
    keeper, _, judge = _improve(context, 0.5, scores, patience=3)
    assert len(judge.weights) == 7
    assert (keeper.score, keeper.iteration, keeper.last) == (0.6, 4, 7)
    iterations = {row["step"] for row in read_metrics(context.metrics.path)}
    assert iterations == set(range(7)), "nothing is learned after that"


def test_without_patience_all_iterations_are_used(context: StageContext) -> None:
    keeper, _, judge = _improve(context, 0.5, [0.4] * 6, iterations=6)
    assert (len(judge.weights), keeper.iteration, keeper.last) == (6, 0, 6)


def test_policy_keeps_its_last_weights_and_the_keeper_the_best(context: StageContext) -> None:
    keeper, policy, judge = _improve(context, 0.3, [0.4, 0.7, 0.6, 0.65], iterations=4)
    assert torch.equal(_tuned(policy), judge.weights[3])
    keeper.restore()
    assert torch.equal(_tuned(policy), judge.weights[1])
    assert (keeper.score, keeper.iteration, keeper.last) == (0.7, 2, 4)
    assert len({tuple(weights.tolist()) for weights in judge.weights}) == 4


def test_policies_are_judged_every_few_iterations_and_at_the_end(context: StageContext) -> None:
    keeper, _, _ = _improve(context, 0.3, [0.4, 0.5, 0.6], iterations=5, eval_every=2)
    rows = read_metrics(context.metrics.path)
    judged = [row["step"] + 1 for row in rows if "held_out_dream_success" in row]
    assert judged == [2, 4, 5]
    assert (keeper.iteration, keeper.last) == (5, 5)


@pytest.mark.parametrize("most", [0, 2])
def test_collapsed_learning_goes_back_with_half_the_steps_until_going_back_has_no_use(
    context: StageContext, most: int
) -> None:
    keeper, policy, judge = _improve(context, 0.9, [0.1] * 9, max_rollbacks=most)
    base = torch.cat([value.flatten() for value in _policy().base.parameters()])
    moved = [float((weights - base).abs().max().detach()) for weights in judge.weights]
    # Adam's first step is the rate itself: each try begins at the base policy with a new optimiser.
    assert moved == pytest.approx([LR * 0.5**tries for tries in range(most + 1)], rel=2e-3)
    assert (keeper.rollbacks, keeper.iteration, keeper.last) == (most, 0, len(moved))
    assert torch.equal(_tuned(policy), judge.weights[-1])
    keeper.restore()
    assert torch.equal(_tuned(policy), base)


def test_a_score_just_above_a_collapse_is_learned_on_from(context: StageContext) -> None:
    keeper, policy, judge = _improve(context, 0.3, [0.9, 0.61, 0.59], iterations=3)
    assert (keeper.rollbacks, keeper.last) == (1, 1), "only the last one has collapsed"
    assert torch.equal(_tuned(policy), judge.weights[0])
    assert len({tuple(weights.tolist()) for weights in judge.weights}) == 3


def test_going_back_does_not_restore_patience(context: StageContext) -> None:
    keeper, _, judge = _improve(context, 0.3, [0.9, 0.1, 0.8, 0.1], patience=3)
    assert (len(judge.weights), keeper.rollbacks) == (4, 2)


def test_a_good_enough_score_ends_the_learning(context: StageContext) -> None:
    keeper, _, judge = _improve(context, 0.3, [0.4, 0.8, 0.9], enough=0.8)
    assert (len(judge.weights), keeper.score, keeper.iteration) == (2, 0.8, 2)


def test_weights_that_are_no_numbers_are_not_judged_but_gone_back_from(
    context: StageContext,
) -> None:
    keeper, policy, judge = _improve(context, 0.3, [0.4, 0.5, 0.45], broken=3, iterations=4)
    assert (len(judge.weights), keeper.rollbacks, keeper.iteration, keeper.last) == (3, 1, 2, 4)
    assert all(bool(weights.isfinite().all()) for weights in judge.weights)
    assert torch.equal(_tuned(policy), judge.weights[-1])
    assert not torch.equal(judge.weights[-1], judge.weights[1])


def test_weights_that_are_no_numbers_are_never_the_last_ones(context: StageContext) -> None:
    keeper, policy, judge = _improve(context, 0.3, [0.4], broken=2, iterations=4, max_rollbacks=0)
    assert (keeper.iteration, keeper.last) == (1, 1)
    assert torch.equal(_tuned(policy), judge.weights[0])


@pytest.mark.usefixtures("simulator_unloaded")
@pytest.mark.parametrize("scores", [[0.4, 0.7, 0.6], [0.8, 0.6, 0.1]])
def test_fine_tuning_saves_the_last_and_the_best_policy_with_their_iterations(
    context: StageContext, monkeypatch: pytest.MonkeyPatch, scores: list[float]
) -> None:
    best = scores.index(max(scores))
    last = best if scores[-1] == 0.1 else 2  # after a collapse the best are the last
    judge = Judge(scores)

    def score(policy: DiffusionPolicy) -> Score:
        known = policy.tuned is not None and len(judge.weights) < 3
        return judge(policy) if known else Score(0.3, dream=0.25)

    dreams = SimpleNamespace(train=Wander(), score=score, facts={"train_starts": 7})
    monkeypatch.setattr(finetune_stage, "Dreams", lambda *_: dreams)
    ppo = {**SETTINGS, "iterations": 3}
    save_policy(context.directory / "base", _policy(), {"task": "open_drawer"})
    folders = {"policy": context.directory / "base"}
    result = finetune(context, None, tiny_experiment(ppo=ppo), CPU, folders)  # type: ignore[arg-type]
    for name, index in (("last", last), ("model", best)):
        policy, meta = load_policy(context.directory / name, CPU)
        assert torch.equal(_tuned(policy), judge.weights[index])
        assert (meta["finetuned_iterations"], meta["task"]) == (index + 1, "open_drawer")
        base = zip(policy.base.parameters(), _policy().base.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in base)
    assert (result["best_iteration"], result["judged_base"]) == (best + 1, 0.3)
    assert (result["rollbacks"], result["simulator_steps"]) == (int(last != 2), 0)
