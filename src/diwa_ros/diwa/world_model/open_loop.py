# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How far a dream stays close to what really happened, by the length of the dream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diwa.world_model.image_metrics import mse, psnr, ssim
from diwa.world_model.model import WorldModel
from diwa.world_model.rssm import State, kl_divergence

# Standard deviations that an observation counts as being away from its mean, at most: a button that
# is down for a moment, once in a while, would else decide the whole mean by its timing.
FAR = 3.0

IMAGE_METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "psnr": psnr,
    "ssim": ssim,
}


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Open-loop prediction; curves are (H,) float32 over dream length 1..H, means over B."""

    error: dict[str, Tensor]  # per key: mean squared error, normalised units, values cut at `FAR`
    still: dict[str, Tensor]  # per key: the same for predicting that nothing changes
    images: dict[str, dict[str, Tensor]]  # per image key: "mse", "psnr" [dB], "ssim"
    kl: Tensor  # KL(posterior that sees the frame || dreamed prior) [nat]
    latent: State  # (B, H), the dreamed states
    vectors: dict[str, Tensor]  # per vector key: (B, H, size) predicted, the data's own units
    shown: dict[str, Tensor]  # per image key: (few, H, h, w, 3) uint8 predicted


@torch.no_grad()
def open_loop(
    world_model: WorldModel,
    observation: Mapping[str, Tensor],
    previous_action: Tensor,
    is_first: Tensor,
    context: int,
    generator: torch.Generator,
    *,
    show: int = 0,
) -> OpenLoop:
    """Observe `context` frames, then dream the rest with the recorded actions.

    Args:
        world_model: the model under test.
        observation: per key (B, T, ...) raw.
        previous_action: (B, T, A) float32.
        is_first: (B, T) bool.
        context: observed frames, at least one.
        generator: source of randomness.
        show: dreams of which the predicted images are kept.
    """
    seen = world_model.observe(observation, previous_action, is_first, generator=generator)
    start = seen.state.at(context - 1)
    dreamed = world_model.rssm.imagine(start, previous_action[:, context:], generator)
    prior = world_model.rssm.prior(dreamed.deter)
    kl = kl_divergence(seen.post[:, context:], prior).mean(dim=0)
    curves = _Curves(world_model, observation, context)
    for step in range(dreamed.deter.shape[1]):
        curves.add(step, world_model.decoder(dreamed.at(step).feat), show)
    stack = _stack
    return OpenLoop(
        stack(curves.error),
        stack(curves.still),
        {key: stack(rows) for key, rows in curves.images.items()},
        kl,
        dreamed,
        {key: torch.stack(rows, dim=1) for key, rows in curves.vectors.items()},
        {key: torch.stack(rows, dim=1) for key, rows in curves.shown.items()},
    )


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return (one.clamp(-FAR, FAR) - other.clamp(-FAR, FAR)).square().mean()


def _stack(rows: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack(values) for key, values in rows.items()}


class _Curves:
    """Collects one step of all dreams at a time: whole image sequences would fill the memory."""

    def __init__(
        self, world_model: WorldModel, observation: Mapping[str, Tensor], context: int
    ) -> None:
        self.error: dict[str, list[Tensor]] = defaultdict(list)
        self.still: dict[str, list[Tensor]] = defaultdict(list)
        self.images: dict[str, dict[str, list[Tensor]]] = {}
        self.vectors: dict[str, list[Tensor]] = defaultdict(list)
        self.shown: dict[str, list[Tensor]] = defaultdict(list)
        self._world_model = world_model
        self._observation = observation
        self._context = context
        self._last = self._truth(context - 1)

    def _truth(self, frame: int) -> dict[str, Tensor]:
        """The normalised observation at one frame, (B, ...)."""
        part = {key: value[:, frame] for key, value in self._observation.items()}
        return self._world_model.normalise(part)

    def add(self, step: int, predicted: Mapping[str, Tensor], show: int) -> None:
        """Count the normalised prediction (B, ...) for dream length `step` + 1."""
        truth = self._truth(self._context + step)
        natural = self._world_model.denormalise(predicted)
        for key, value in predicted.items():
            self.error[key].append(_distance(value, truth[key]))
            self.still[key].append(_distance(self._last[key], truth[key]))
            if value.dim() == 2:
                self.vectors[key].append(natural[key])
                continue
            image = natural[key].clamp(0, 255)
            real = self._observation[key][:, self._context + step].float()
            rows = self.images.setdefault(key, {name: [] for name in IMAGE_METRICS})
            for name, metric in IMAGE_METRICS.items():
                rows[name].append(metric(image / 255, real / 255).mean())
            if show:
                self.shown[key].append(image[:show].round().to(torch.uint8))
