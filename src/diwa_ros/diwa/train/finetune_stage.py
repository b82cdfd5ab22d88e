# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `finetune`: PPO over denoising steps, in the dream only (DiWA section 3.4).

The simulator must not be loaded here, let alone used; the stage refuses to run otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diwa.data.dataset import Dataset
from diwa.policy.diffusion import DiffusionPolicy
from diwa.reward.classifier import SuccessClassifier
from diwa.rl.critic import Critic
from diwa.rl.dream import DreamEnvironment, StartBank, encode_starts
from diwa.rl.ppo import PPO, UpdateResult
from diwa.rl.rollout import Rollout, collect, success_rate
from diwa.train.experiment import ExperimentConfig
from diwa.train.labels import start_frames, start_observations
from diwa.train.loop import LoopState, Randomness, run_loop
from diwa.train.models import load_classifier, load_policy, load_world_model, save_policy
from diwa.train.run import StageContext
from diwa.train.windows import split_episodes
from diwa.world_model.model import WorldModel

SIMULATOR_MODULES = ("pybullet", "diwa.sim.play_table")


def require_no_simulator() -> None:
    """Raise when a simulator is loaded: fine-tuning is strictly offline."""
    loaded = [name for name in SIMULATOR_MODULES if name in sys.modules]
    if loaded:
        raise RuntimeError(f"fine-tuning is offline, but {', '.join(loaded)} is loaded")


@dataclass(frozen=True, slots=True)
class Dreams:
    """The imagined environments of one experiment, for learning and for judging."""

    train: DreamEnvironment
    judge: DreamEnvironment  # starts from held-out episodes


def make_dreams(
    world_model: WorldModel,
    classifier: SuccessClassifier,
    dataset: Dataset,
    config: ExperimentConfig,
) -> tuple[Dreams, dict[str, int]]:
    """Dreams from recorded starts; those for judging start in held-out episodes."""
    holdout = config.world_model_training.holdout
    train_ids, held_ids = split_episodes(dataset, "play", holdout, config.seed)
    train = _bank(world_model, dataset, config, train_ids)
    held = _bank(world_model, dataset, config, held_ids) if held_ids else train
    judged = config.dream.model_copy(update={"dreams": config.ppo.eval_dreams})
    dreams = Dreams(
        DreamEnvironment(world_model, classifier, train, config.dream),
        DreamEnvironment(world_model, classifier, held, judged),
    )
    return dreams, {"train_starts": len(train.deter), "held_out_starts": len(held.deter)}


def _bank(
    world_model: WorldModel, dataset: Dataset, config: ExperimentConfig, episode_ids: list[str]
) -> StartBank:
    starts = start_frames(dataset, config.task, episode_ids, config.starts)
    keys = [item.key for item in world_model.config.inputs]
    arrays = start_observations(dataset, starts, keys)
    return encode_starts(world_model, {k: torch.from_numpy(v) for k, v in arrays.items()})


class Best:
    """The best fine-tuned weights so far, by success in held-out dreams."""

    def __init__(self, policy: DiffusionPolicy, score: float) -> None:
        assert policy.tuned is not None
        self.weights = _copy(policy.tuned.state_dict())
        self.score = score
        self.iteration = 0
        self.since = 0  # evaluations without a new best

    def offer(self, policy: DiffusionPolicy, score: float, iteration: int) -> None:
        """Keep these weights if they are better."""
        assert policy.tuned is not None
        self.since += 1
        if score > self.score:
            self.weights = _copy(policy.tuned.state_dict())
            self.score, self.iteration, self.since = score, iteration, 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {
            "weights": self.weights,
            "score": self.score,
            "iteration": self.iteration,
            "since": self.since,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        self.weights = dict(state["weights"])
        self.score = float(state["score"])
        self.iteration, self.since = int(state["iteration"]), int(state["since"])


class _LearnerState:
    """The parts of PPO that are no modules: reward scale and iteration count."""

    def __init__(self, learner: PPO) -> None:
        self.learner = learner

    def state(self) -> dict[str, Any]:
        return {"scaler": self.learner.scaler.state(), "iteration": self.learner.iteration}

    def load(self, state: dict[str, Any]) -> None:
        self.learner.scaler.load(state["scaler"])
        self.learner.iteration = int(state["iteration"])


def finetune(
    context: StageContext,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    folders: Mapping[str, Path],
) -> dict[str, Any]:
    """Fine-tune the policy in dreams; keeps the best weights by held-out dreams, and the last."""
    require_no_simulator()
    world_model, _ = load_world_model(folders["world_model"], device)
    classifier, _ = load_classifier(folders["classifier"], device)
    policy, meta = load_policy(folders["policy"], device)
    dreams, facts = make_dreams(world_model, classifier, dataset, config)
    base_score = judge(dreams.judge, policy, config)
    torch.manual_seed(config.seed + 40)
    actor = policy.start_finetuning()
    critic = Critic(policy.feat, config.ppo.critic_hidden).to(device)
    learner = PPO(policy, critic, config.ppo)
    best = Best(policy, base_score)
    random = Randomness(config.seed + 41, device)
    state = LoopState(
        {"actor": actor, "critic": critic},
        {"actor": learner.actor_optimiser, "critic": learner.critic_optimiser},
        {"learner": _LearnerState(learner), "random": random, "best": best},
    )

    def step(index: int) -> dict[str, float]:
        rollout = collect(dreams.train, policy, critic, config.ppo.chunks, random.device)
        result = learner.update(rollout, random.device)
        context.metrics.log(index, **_figures(rollout, result))
        shown = {"dream": _success(rollout)}
        last = index + 1 == config.ppo.iterations
        if (index + 1) % config.ppo.eval_every == 0 or last:
            score = judge(dreams.judge, policy, config)
            best.offer(policy, score, index + 1)
            context.metrics.log(index, held_out_dream_success=score)
            shown["held_out"] = score
            if config.ppo.patience is not None and best.since >= config.ppo.patience:
                state.step = config.ppo.iterations
        return shown

    run_loop(context, "fine-tuning in the dream", config.ppo.iterations, state, step)
    require_no_simulator()
    facts_meta = {**meta, "finetuned_iterations": best.iteration}
    save_policy(context.directory / "last", policy, facts_meta)
    actor.load_state_dict(best.weights)
    save_policy(context.directory / "model", policy, facts_meta)
    return {
        "dream_base": base_score,
        "dream_adapted": best.score,
        "best_iteration": best.iteration,
        "simulator_steps": 0,
        **facts,
    }


def judge(dream: DreamEnvironment, policy: DiffusionPolicy, config: ExperimentConfig) -> float:
    """Success in held-out dreams, acting as when served; the same random numbers every time."""
    generator = torch.Generator(device=dream.starts.deter.device).manual_seed(config.seed + 42)
    return success_rate(dream, policy, config.dream.max_chunks, generator)[0]


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


def _copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}
