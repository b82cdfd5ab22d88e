# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `finetune`: PPO over denoising steps, in the dream only (DiWA section 3.4).

The simulator must not be loaded here, let alone used; the stage refuses to run otherwise.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diwa.data.dataset import Dataset
from diwa.rl.config import PPOConfig
from diwa.rl.critic import Critic
from diwa.rl.ppo import PPO, UpdateResult
from diwa.rl.rollout import Rollout, collect
from diwa.train.experiment import ExperimentConfig
from diwa.train.judging import Dreams
from diwa.train.keeper import Keeper
from diwa.train.loop import LoopState, Randomness, run_loop
from diwa.train.meter import finite_or_none
from diwa.train.models import load_policy, save_policy
from diwa.train.run import StageContext

SIMULATOR_MODULES = ("pybullet", "diwa.sim.play_table")


def require_no_simulator() -> None:
    """Raise when a simulator is loaded: fine-tuning is strictly offline."""
    loaded = [name for name in SIMULATOR_MODULES if name in sys.modules]
    if loaded:
        raise RuntimeError(f"fine-tuning is offline, but {', '.join(loaded)} is loaded")


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


def finetune(
    context: StageContext,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    folders: Mapping[str, Path],
) -> dict[str, Any]:
    """Fine-tune the policy in dreams; keeps the last weights and, by held-out dreams, the best.

    Learning goes back to the best weights, with smaller steps, when the score collapses.
    """
    require_no_simulator()
    policy, meta = load_policy(folders["policy"], device)
    dreams = Dreams(dataset, config, device, folders)
    base = dreams.score(policy)
    torch.manual_seed(config.seed + 40)
    actor = policy.start_finetuning()
    critic = Critic(policy.feat, config.ppo.critic_hidden).to(device)
    learner = PPO(policy, critic, config.ppo)
    keeper = Keeper(learner, base.decisive, config.ppo.collapse_drop)
    random = Randomness(config.seed + 41, device)
    state = LoopState(
        {"actor": actor, "critic": critic},
        {"actor": learner.actor_optimiser, "critic": learner.critic_optimiser},
        {"learner": _LearnerState(learner), "random": random, "keeper": keeper},
    )

    def step(index: int) -> dict[str, float]:
        rollout = collect(dreams.train, policy, critic, config.ppo.chunks, random.device)
        result = learner.update(rollout, random.device)
        context.metrics.log(index, **_figures(rollout, result))
        shown = {"dream": _success(rollout)}
        last = index + 1 == config.ppo.iterations
        judged = math.nan
        if not _healthy(learner):
            context.progress.message("the policy's weights are no numbers any more: going back")
        elif (index + 1) % config.ppo.eval_every == 0 or last:
            score = dreams.score(policy)
            context.metrics.log(index, **score.figures(), rollbacks=keeper.rollbacks)
            shown["held_out"] = judged = score.decisive
        else:
            return shown
        if not _go_on(keeper, judged, index + 1, config.ppo):
            state.step = config.ppo.iterations
        return shown

    run_loop(context, "fine-tuning in the dream", config.ppo.iterations, state, step)
    require_no_simulator()
    facts = {**meta, "finetuned_iterations": keeper.iteration}
    save_policy(context.directory / "last", policy, facts)
    keeper.restore()
    save_policy(context.directory / "model", policy, facts)
    adapted = dreams.score(policy) if keeper.iteration else base
    return {
        "dream_base": base.dream,
        "dream_adapted": adapted.dream,
        "judged_base": base.decisive,
        "judged_adapted": adapted.decisive,
        "exploitation_gap_base": finite_or_none(base.gap),
        "exploitation_gap_adapted": finite_or_none(adapted.gap),
        "best_iteration": keeper.iteration,
        "rollbacks": keeper.rollbacks,
        "simulator_steps": 0,
        **dreams.facts,
    }


def _healthy(learner: PPO) -> bool:
    """Whether all weights of the actor are numbers."""
    return all(bool(value.isfinite().all()) for value in learner.actor.parameters())


def _go_on(keeper: Keeper, judged: float, iteration: int, settings: PPOConfig) -> bool:
    """Keep the weights, or go back to the best ones; whether learning should go on."""
    if keeper.offer(judged, iteration):
        return True
    if keeper.collapsed(judged):
        if keeper.rollbacks == settings.max_rollbacks:
            return False
        keeper.roll_back()
    return settings.patience is None or keeper.since < settings.patience


def _success(rollout: Rollout) -> float:
    """Share of the finished episodes that were solved."""
    ended = float(rollout.ended.sum())
    return float(rollout.terminated.sum()) / ended if ended else 0.0


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
