# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Stage `world_model`: fit the RSSM to the play data (DiWA section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diwa.data.dataset import Dataset
from diwa.train.checkpoint import save_weights
from diwa.train.experiment import ExperimentConfig, WorldModelTraining
from diwa.train.loop import LoopState, Randomness, Stateful, cosine, run_loop
from diwa.train.models import make_world_model, world_model_meta
from diwa.train.run import StageContext
from diwa.train.step_graph import StepGraph, recorder_for, set_learning_rate
from diwa.train.streams import Feed, RandomFeed, StreamFeed, StreamSampler
from diwa.train.team import Team
from diwa.train.windows import Batch, WindowSampler, split_episodes
from diwa.world_model.model import WorldModel, WorldModelLoss
from diwa.world_model.rssm import State

NOWHERE = np.empty(0, dtype=np.int64)  # a step does not ask where its windows come from


class _Step(nn.Module):
    """The loss as a forward pass, which is what DistributedDataParallel averages gradients of."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: Batch, state: State | None, generator: torch.Generator
    ) -> WorldModelLoss:
        """The loss of a batch, from the state before it."""
        return _loss(self.model, batch, generator, state)


class WorldModelStep:
    """One step of the optimiser; on a GPU it can be recorded and replayed.

    Args:
        model: to be trained, on its device.
        settings: of the training.
        generator: source of randomness, on the device.
        team: processes that share every batch.
    """

    def __init__(
        self,
        model: WorldModel,
        settings: WorldModelTraining,
        generator: torch.Generator,
        team: Team,
    ) -> None:
        recorder = recorder_for(settings.graph and team.size == 1, model.device, [generator])
        self.optimiser = torch.optim.AdamW(
            model.parameters(),
            lr=settings.lr,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=True,
            capturable=recorder is not None,
        )
        self._model = model
        self._settings = settings
        self._generator = generator
        self._loss = team.wrap(_Step(model))
        self._graph = StepGraph(self._work, recorder)
        self._keys: tuple[str, ...] = ()
        self._names: tuple[str, ...] = ()

    def __call__(self, batch: Batch, before: State | None) -> tuple[dict[str, Tensor], State]:
        """Learn from a batch on the device.

        Returns:
            The terms of the loss with `grad_norm`, scalars, and the state after each window; the
            next call may overwrite them.
        """
        before = self._model.rssm.initial(len(batch.is_first)) if before is None else before
        self._keys = tuple(batch.observation)
        observation = batch.observation.values()
        inputs = [*observation, batch.previous_action, batch.is_first, *before]
        deter, stoch, *figures = self._graph(inputs)
        return dict(zip(self._names, figures, strict=True)), State(deter, stoch)

    def _work(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        count, settings = len(self._keys), self._settings
        action, first, deter, stoch = inputs[count:]
        observation = dict(zip(self._keys, inputs, strict=False))
        batch = Batch(observation, action, first, NOWHERE, NOWHERE)
        short = settings.precision == "bf16"
        with torch.autocast(
            self._model.device.type, torch.bfloat16, enabled=short, cache_enabled=not settings.graph
        ):
            loss: WorldModelLoss = self._loss(batch, State(deter, stoch), self._generator)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), settings.max_grad_norm)
        self.optimiser.step()
        figures = {"grad_norm": norm, **_figures(loss)}
        self._names = tuple(figures)
        return [*loss.last, *figures.values()]


def train_world_model(
    context: StageContext,
    dataset: Dataset,
    config: ExperimentConfig,
    device: torch.device,
    team: Team | None = None,
) -> dict[str, float]:
    """Train on play windows, watch the loss on held-out episodes, save the weights.

    Args:
        context: of the stage.
        dataset: with play.
        config: the experiment.
        device: of the model.
        team: processes that share every batch; None: this one alone.
    """
    settings = config.world_model_training
    team = team if team is not None else Team()
    torch.manual_seed(config.seed)
    model = make_world_model(config, dataset).to(device)
    train_ids, held_ids = split_episodes(dataset, "play", settings.holdout, config.seed)
    keys = [item.key for item in config.world_model.inputs]
    feed = _feed(dataset, train_ids, keys, config, team, device)
    held = WindowSampler(dataset, held_ids or train_ids, keys, settings.seq_len)
    random = Randomness(config.seed, device)
    learn = WorldModelStep(model, settings, random.device, team)
    others: dict[str, Stateful] = {"random": random}
    if feed.carries:
        others["feed"] = feed
    state = LoopState({"model": model}, {"optimiser": learn.optimiser}, others)
    last = {"loss": 0.0}
    final_lr = settings.lr if settings.final_lr is None else settings.final_lr

    def step(index: int) -> dict[str, float]:
        rate = cosine(settings.lr, final_lr, index, settings.steps)
        set_learning_rate(learn.optimiser, rate, device)
        if team.size > 1:
            random.restart(team.seed(config.seed, index))
        batch, before = feed.next(index, random.cpu)
        figures, after = learn(batch.to(device), before)
        feed.keep(after)
        if team.leads and (index % 20 == 0 or index == settings.steps - 1):
            last["loss"] = float(figures["loss"])
            context.metrics.log(index, **{name: float(value) for name, value in figures.items()})
        judged = (index + 1) % settings.eval_every == 0 or index == settings.steps - 1
        if team.leads and judged:
            last["held_out"] = _held_out(model, held, settings, config.seed, device)
            context.metrics.log(index, held_out=last["held_out"])
        return last

    run_loop(context, "world model", settings.steps, state, step, team)
    if team.leads:
        save_world_model(context.directory, model, config, dataset, held_ids)
    return {"steps": settings.steps, **last}


def save_world_model(
    directory: Path,
    model: WorldModel,
    config: ExperimentConfig,
    dataset: Dataset,
    held_ids: list[str],
) -> None:
    """Write the weights with all that is needed to rebuild the model."""
    meta = world_model_meta(config, dataset)
    meta["held_out_episodes"] = held_ids
    save_weights(directory / "model", model.state_dict(), meta)


def _feed(
    dataset: Dataset,
    train_ids: list[str],
    keys: list[str],
    config: ExperimentConfig,
    team: Team,
    device: torch.device,
) -> Feed:
    """Where the windows come from."""
    settings = config.world_model_training
    if settings.windows == "random":
        sampler = WindowSampler(dataset, train_ids, keys, settings.seq_len)
        return RandomFeed(sampler, team.share(settings.batch))
    streams = StreamSampler(dataset, train_ids, keys, settings.seq_len, settings.batch, config.seed)
    return StreamFeed(streams, settings.batch, settings.reset_rate, team, device)


def _loss(
    model: WorldModel, batch: Batch, generator: torch.Generator, state: State | None = None
) -> WorldModelLoss:
    return model.loss(batch.observation, batch.previous_action, batch.is_first, generator, state)


def _figures(loss: WorldModelLoss) -> dict[str, Tensor]:
    """Scalars, still on the device."""
    return {
        "loss": loss.total.detach(),
        "kl_dyn": loss.dyn,
        "kl_rep": loss.rep,
        "overshoot": loss.overshoot,
        **{f"recon_{key}": value.detach() for key, value in loss.recon.items()},
    }


@torch.no_grad()
def _held_out(
    model: WorldModel,
    sampler: WindowSampler,
    settings: WorldModelTraining,
    seed: int,
    device: torch.device,
) -> float:
    """Loss on the same held-out windows every time."""
    random = Randomness(seed + 7, device)
    batch = sampler.sample(2 * settings.batch, random.cpu).to(device)
    return float(_loss(model, batch, random.device).total)
