# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The world model: encoder, RSSM and decoder, with the loss of DiWA section 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diwa.world_model.config import WorldModelConfig
from diwa.world_model.decoders import Decoder
from diwa.world_model.encoders import Encoder, Normaliser, Statistics
from diwa.world_model.initialise import initialise_xavier
from diwa.world_model.rssm import RSSM, Observed, State, kl_divergence


@dataclass(frozen=True, slots=True)
class WorldModelLoss:
    """Terms of the loss; scalars, means over B and T."""

    total: Tensor
    recon: dict[str, Tensor]  # per key, 0.5 * squared error summed over the key's entries
    dyn: Tensor  # KL(sg(post) || prior)
    rep: Tensor  # KL(post || sg(prior))
    overshoot: Tensor  # reconstruction error from dreamed latents
    last: State  # after each window, (B, ...), without gradients


class WorldModel(nn.Module):
    """Encodes observations, filters them into latents, dreams ahead, decodes.

    Args:
        config: sizes and weights.
        statistics: per vector key mean, std, min, max arrays of the dataset.
        neutral_action: (A,) float32, the action assumed before an episode's first frame.
    """

    def __init__(
        self, config: WorldModelConfig, statistics: Statistics, neutral_action: Tensor
    ) -> None:
        super().__init__()
        self.config = config
        self.normalisers = nn.ModuleDict(
            {item.key: Normaliser(item, statistics) for item in config.inputs}
        )
        sizes = {item.key: self._normaliser(item.key).offset.numel() for item in config.inputs}
        self.encoder = Encoder(config, sizes)
        self.rssm = RSSM(config, self.encoder.size, neutral_action)
        self.decoder = Decoder(config, sizes)
        if config.initialise == "xavier":
            self.encoder.apply(initialise_xavier)
            self.decoder.apply(initialise_xavier)
        self.recon_scales = {item.key: item.recon_scale for item in config.inputs}

    def _normaliser(self, key: str) -> Normaliser:
        module = self.normalisers[key]
        assert isinstance(module, Normaliser)
        return module

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.rssm.neutral_action.device

    def normalise(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The model's keys of an observation, (..., size), normalised."""
        return {key: module(observation[key]) for key, module in self.normalisers.items()}

    def embed(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Raw observation (..., size of each observed key) -> embedding (..., E) float32."""
        seen = {key: self._normaliser(key)(observation[key]) for key in self.config.observed}
        return self.encoder(seen)

    def observe(
        self,
        observation: Mapping[str, Tensor],
        previous_action: Tensor,
        is_first: Tensor,
        state: State | None = None,
        generator: torch.Generator | None = None,
    ) -> Observed:
        """Filter raw observations with leading axes (B, T); see `RSSM.observe`."""
        return self.rssm.observe(
            self.embed(observation), previous_action, is_first, state, generator
        )

    def decode(self, feat: Tensor) -> dict[str, Tensor]:
        """(..., F) -> reconstructed keys in the data's own units (images: 0 to 255 float32)."""
        return self.denormalise(self.decoder(feat))

    def decode_vector(self, feat: Tensor, key: str) -> Tensor:
        """(..., F) -> one reconstructed vector (..., size) in the data's own units; no images."""
        vectors: dict[str, Tensor] = self.decoder.decode_vectors(feat)
        return self._normaliser(key).invert(vectors[key])

    def denormalise(self, prediction: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the decoder returns, in the data's own units."""
        return {k: self._normaliser(k).invert(v) for k, v in prediction.items()}

    def loss(
        self,
        observation: Mapping[str, Tensor],
        previous_action: Tensor,
        is_first: Tensor,
        generator: torch.Generator | None = None,
        state: State | None = None,
    ) -> WorldModelLoss:
        """Loss of a batch of windows (B, T), from `state` before each; zeros when None."""
        target = self.normalise(observation)
        embed = self.encoder(target)
        seen = self.rssm.observe(embed, previous_action, is_first, state, generator)
        recon = self._reconstruction(seen.state.feat, target, generator)
        nats = self.config.free_nats
        dyn = kl_divergence(seen.post.detach(), seen.prior).mean().clamp_min(nats)
        rep = kl_divergence(seen.post, seen.prior.detach()).mean().clamp_min(nats)
        balance = self.config.kl_balance
        kl = balance * dyn + (1 - balance) * rep
        overshoot = self._overshoot(seen, target, previous_action, is_first, generator)
        total = self._weighted(recon) + self.config.kl_scale * kl
        total = total + self.config.overshoot_scale * overshoot
        last = seen.state.at(-1).detach()
        return WorldModelLoss(total, recon, dyn.detach(), rep.detach(), overshoot.detach(), last)

    def _reconstruction(
        self,
        feat: Tensor,
        target: Mapping[str, Tensor],
        generator: torch.Generator | None,
        weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Per key the error, of images in `image_share` of the frames; see `_errors`."""
        if self.config.image_share == 1:
            return _errors(self.decoder(feat), target, weight)
        frames = feat.shape[0] * feat.shape[1]
        count = max(1, round(self.config.image_share * frames))
        drawn = torch.rand(frames, device=feat.device, generator=generator).topk(count).indices

        def few(value: Tensor) -> Tensor:  # (B, T, ...) -> (1, count, ...)
            return value.flatten(0, 1)[drawn][None]

        vectors = _errors(self.decoder.decode_vectors(feat), target, weight)
        images = self.decoder.decode_images(few(feat))
        real = {key: few(target[key]) for key in images}
        return vectors | _errors(images, real, None if weight is None else few(weight))

    def _weighted(self, recon: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.recon_scales[k] * v for k, v in recon.items()]).sum()

    def _overshoot(
        self,
        seen: Observed,
        target: Mapping[str, Tensor],
        previous_action: Tensor,
        is_first: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Reconstruction error after a few observed steps and then only dreamed ones.

        Windows with an episode border among the dreamed steps are left out.
        """
        context = self.config.overshoot_context
        if self.config.overshoot_scale == 0 or is_first.shape[1] <= context:
            return seen.prior.new_zeros(())
        start = seen.state.at(context - 1)
        dreamed = self.rssm.imagine(start, previous_action[:, context:], generator)
        rest = {key: value[:, context:] for key, value in target.items()}
        keep = (~is_first[:, context:]).all(dim=1).float()
        whole = keep[:, None].expand(-1, dreamed.deter.shape[1])
        return self._weighted(self._reconstruction(dreamed.feat, rest, generator, whole))


def _errors(
    prediction: Mapping[str, Tensor], target: Mapping[str, Tensor], weight: Tensor | None
) -> dict[str, Tensor]:
    """Half the squared error: per key the mean over all frames, or over where `weight` is one."""
    errors = {
        key: 0.5 * (value - target[key]).square().flatten(2).sum(-1)
        for key, value in prediction.items()
    }
    if weight is None:
        return {key: error.mean() for key, error in errors.items()}
    count = weight.sum().clamp_min(1)
    return {key: (error * weight).sum() / count for key, error in errors.items()}
