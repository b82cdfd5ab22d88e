# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How far a dream stays close to what really happened, by the length of the dream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diwa.world_model.model import WorldModel
from diwa.world_model.rssm import State


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Errors of open-loop prediction; arrays over dream length 1..H, in normalised units."""

    error: dict[str, Tensor]  # per key: (H,) mean squared error
    still: dict[str, Tensor]  # per key: (H,) the same for predicting that nothing changes
    latent: State  # (B, H), the dreamed states
    decoded: dict[str, Tensor]  # per key: (B, H, ...) in the data's own units


@torch.no_grad()
def open_loop(
    world_model: WorldModel,
    observation: Mapping[str, Tensor],
    previous_action: Tensor,
    is_first: Tensor,
    context: int,
    generator: torch.Generator,
) -> OpenLoop:
    """Observe `context` frames, then dream the rest with the recorded actions.

    Args:
        world_model: the model under test.
        observation: per key (B, T, ...) raw.
        previous_action: (B, T, A) float32.
        is_first: (B, T) bool.
        context: observed frames, at least one.
        generator: source of randomness.
    """
    target = world_model.normalise(observation)
    seen = world_model.observe(
        {key: value[:, :context] for key, value in observation.items()},
        previous_action[:, :context],
        is_first[:, :context],
        generator=generator,
    )
    dreamed = world_model.rssm.imagine(seen.state.at(-1), previous_action[:, context:], generator)
    error, still = {}, {}
    for key, value in world_model.decoder(dreamed.feat).items():
        truth = target[key][:, context:]
        last = target[key][:, context - 1 : context]
        error[key] = (value - truth).square().flatten(2).mean(dim=(0, 2))
        still[key] = (last - truth).square().flatten(2).mean(dim=(0, 2))
    return OpenLoop(error, still, dreamed, world_model.decode(dreamed.feat))
