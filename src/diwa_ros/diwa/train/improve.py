# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Improving a policy by PPO in some environment: dreams, or the simulator for comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch

from diwa.policy.diffusion import DiffusionPolicy
from diwa.rl.config import PPOConfig
from diwa.rl.critic import Critic
from diwa.rl.environment import ChunkEnvironment
from diwa.rl.ppo import PPO, UpdateResult
from diwa.rl.rollout import Rollout, collect
from diwa.train.keeper import Keeper
from diwa.train.loop import LoopState, Randomness, Stateful, run_loop
from diwa.train.run import StageContext


class Judgement(Protocol):
    """What is known of a policy."""

    @property
    def decisive(self) -> float:
        """What weights are chosen by, in [0, 1]."""
        ...

    def figures(self) -> dict[str, float]:
        """For the metrics log."""
        ...


class _LearnerState:
    """The parts of PPO that are no modules: reward scale and iteration count."""

    def __init__(self, learner: PPO) -> None:
        self.learner = learner

    def state(self) -> dict[str, Any]:
        return {
            "scaler": self.learner.scaler.state(),
            "iteration": self.learner.iteration,
            "lr_scale": self.learner.lr_scale,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.learner.scaler.load(state["scaler"])
        self.learner.iteration = int(state["iteration"])
        self.learner.lr_scale = float(state["lr_scale"])


def improve(
    context: StageContext,
    name: str,
    policy: DiffusionPolicy,
    environment: ChunkEnvironment,
    judge: Callable[[DiffusionPolicy], Judgement],
    settings: PPOConfig,
    *,
    base: Judgement,
    seed: int,
    others: dict[str, Stateful] | None = None,
    enough: float | None = None,
) -> Keeper:
    """Run PPO; afterwards `policy` has its last weights, and the result knows the best.

    Learning goes back to the best weights, with smaller steps, when the score collapses.

    Args:
        context: of the stage.
        name: of the job, in the progress.
        policy: gets a tuned copy of its denoiser.
        environment: to learn in.
        judge: scores a policy.
        settings: of PPO.
        base: the judgement of the policy as it is.
        seed: of all randomness.
        others: what else must survive a restart.
        enough: a score that ends the learning.
    """
    device = next(policy.parameters()).device
    torch.manual_seed(seed)
    actor = policy.start_finetuning()
    critic = Critic(policy.feat, settings.critic_hidden).to(device)
    learner = PPO(policy, critic, settings)
    keeper = Keeper(learner, base.decisive, settings.collapse_drop)
    random = Randomness(seed + 1, device)
    state = LoopState(
        {"actor": actor, "critic": critic},
        {"actor": learner.actor_optimiser, "critic": learner.critic_optimiser},
        {
            "learner": _LearnerState(learner),
            "random": random,
            "keeper": keeper,
            **(others or {}),
        },
    )

    def step(index: int) -> dict[str, float]:
        rollout = collect(environment, policy, critic, settings.chunks, random.device)
        result = learner.update(rollout, random.device)
        context.metrics.log(index, **_figures(rollout, result))
        shown = {"success": _success(rollout)}
        last = index + 1 == settings.iterations
        judged = math.nan
        if not _healthy(learner):
            context.progress.message("weights are no numbers any more: going back")
        elif (index + 1) % settings.eval_every == 0 or last:
            judgement = judge(policy)
            context.metrics.log(index, **judgement.figures(), rollbacks=keeper.rollbacks)
            shown["held_out"] = judged = judgement.decisive
        else:
            return shown
        good = enough is not None and judged >= enough
        if not _go_on(keeper, judged, index + 1, settings) or good:
            state.step = settings.iterations
        return shown

    run_loop(context, name, settings.iterations, state, step)
    return keeper


def _healthy(learner: PPO) -> bool:
    """Whether all weights are numbers."""
    weights = [*learner.actor.parameters(), *learner.critic.parameters()]
    return all(bool(value.isfinite().all()) for value in weights)


def _go_on(keeper: Keeper, judged: float, iteration: int, settings: PPOConfig) -> bool:
    """Keep the weights, or go back to the best ones; whether learning should go on."""
    if keeper.offer(judged, iteration):
        return True
    if keeper.collapsed(judged):
        if keeper.rollbacks == settings.max_rollbacks:
            if math.isnan(judged):
                keeper.roll_back()  # no use as the last weights either
            return False
        keeper.roll_back()
    return settings.patience is None or keeper.since < settings.patience


def _success(rollout: Rollout) -> float:
    """Share of the environments whose first episode was solved.

    Later ones that the end of the rollout cuts short would count only where they are solved.
    """
    first = rollout.ended.cumsum(0) == 1
    return float((rollout.terminated & first).any(0).float().mean())


def _figures(rollout: Rollout, result: UpdateResult) -> dict[str, Any]:
    solved = rollout.terminated.float().sum()
    return {
        "dream_success": _success(rollout),
        "reward": float(rollout.reward.mean()),
        "episode_chunks": float(rollout.reward.numel() / max(1.0, float(rollout.ended.sum()))),
        "solved": float(solved),
        "kl": result.kl,
        "clip_fraction": result.clip_fraction,
        "log_prob_low": result.log_prob_low,
        "log_prob_high": result.log_prob_high,
        "policy_loss": result.policy_loss,
        "value_loss": result.value_loss,
        "bc_loss": result.bc_loss,
        "explained_variance": result.explained_variance,
        "epochs": result.epochs,
    }
