# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The posterior filter for one robot, one frame at a time: what serving runs on a CPU.

Equation by equation it is `WorldModel.observe` for a batch and a sequence of one, with the same
random numbers. At that size the time goes into reading weights and into calls, so: convolutions are
products of unfolded patches with weights laid out once, a layer over one-hot samples is a sum of
its weights' rows, and the prior, which only learning needs, is left out.

What the last state becomes by the action does not depend on the new frame. So it can be computed
while the frame is encoded, by a second thread: both halves mostly wait for weights from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from diwa.world_model.encoders import CnnEncoder, Normaliser
from diwa.world_model.model import WorldModel
from diwa.world_model.rssm import State
from diwa.world_model.sampling import draw_index

KERNEL, STRIDE = 4, 2  # of every convolution of `CnnEncoder`


class PatchLayer(NamedTuple):
    """A convolution as a product: patches (rows, 16 * inputs) with weights (16 * inputs, out)."""

    weight: Tensor
    bias: Tensor


class StepFilter:
    """Filters one frame after the other.

    Args:
        model: frozen, on the CPU, float32; its weights must not change afterwards.
        overlap: use a second thread; the numbers are the same.
    """

    def __init__(self, model: WorldModel, *, overlap: bool = False) -> None:
        self._model = model
        self._rssm = model.rssm
        self._cnns: dict[str, Callable[[Tensor], Tensor]] = {
            key: PatchEncoder(encoder)
            for key, encoder in model.encoder.encoders.items()
            if isinstance(encoder, CnnEncoder)
        }
        config = model.config
        self._rows = model.rssm.stoch_in.weight.detach().t().contiguous()
        self._offsets = torch.arange(config.stoch) * config.classes
        self._index: Tensor | None = None  # (1, S) rows of the latest sample; None: nothing seen
        self._helper = ThreadPoolExecutor(1, "filter") if overlap else None
        self._zero = self._deter = model.rssm.initial(1).deter

    @staticmethod
    def fits(model: WorldModel) -> bool:
        """Whether this filter is made for `model`."""
        weight = model.rssm.post_deter.weight
        return weight.device.type == "cpu" and weight.dtype == torch.float32

    def reset(self) -> None:
        """Forget everything: the next frame is the first."""
        self._index = None

    def step(
        self,
        observation: Mapping[str, Tensor],
        previous_action: Tensor,
        generator: torch.Generator | None,
    ) -> State:
        """Filter a frame.

        Args:
            observation: per key one tensor, (size,) or (h, w, 3), of any number type.
            previous_action: (7,) float32; ignored in the first frame.
            generator: source of randomness.

        Returns:
            The latent, with a batch of one.
        """
        rssm, config = self._rssm, self._model.config
        if self._index is None:
            embed = self._embed(observation)
            start = self._zero if rssm.start is None else rssm.start(embed)
            deter, memory = self._transition(start, rssm.stoch_in.bias, rssm.neutral_action)
        elif self._helper is None:
            embed = self._embed(observation)
            deter, memory = self._advance(previous_action)
        else:
            advancing = self._helper.submit(self._advance, previous_action)
            embed = self._embed(observation)
            deter, memory = advancing.result()
        hidden = rssm.post_norm(memory + rssm.post_embed(embed))
        logits = rssm.post_out(functional.elu(hidden)).view(1, config.stoch, config.classes)
        prob = torch.log_softmax(logits, dim=-1).exp()
        if config.unimix > 0:
            prob = prob * (1 - config.unimix) + config.unimix / config.classes
        drawn = draw_index(prob, generator)
        self._index = drawn.squeeze(-1) + self._offsets
        self._deter = deter
        return State(deter, torch.zeros_like(prob).scatter_(-1, drawn, 1.0))

    @torch.inference_mode()
    def _advance(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """The latest state after `action`; see `_transition`."""
        assert self._index is not None, "something was seen"
        rows = functional.embedding_bag(self._index, self._rows, mode="sum")
        return self._transition(self._deter, rows + self._rssm.stoch_in.bias, action)

    def _transition(self, deter: Tensor, sampled: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """The next `deter` (1, D), and its part of the posterior's first layer (1, hidden)."""
        rssm = self._rssm
        hidden = functional.elu(rssm.in_norm(sampled + rssm.action_in(action[None])))
        deter = rssm.cell(hidden, deter)
        return deter, rssm.post_deter(deter)

    def _embed(self, observation: Mapping[str, Tensor]) -> Tensor:
        """(1, E), as `WorldModel.embed`."""
        encoder = self._model.encoder
        values = {
            key: self._normalised(key, observation[key]) for key in self._model.config.observed
        }
        parts = []
        if len(encoder.encoders) > 0:
            encoded = [
                (self._cnns.get(key) or module)(values[key])
                for key, module in encoder.encoders.items()
            ]
            parts.append(encoder.project(torch.cat(encoded, dim=-1)))
        parts += [values[key] for key in encoder.plain]
        return torch.cat(parts, dim=-1)[None]

    def _normalised(self, key: str, value: Tensor) -> Tensor:
        normaliser = self._model.normalisers[key]
        assert isinstance(normaliser, Normaliser)
        return normaliser(value)


class PatchEncoder:
    """`CnnEncoder` for one image."""

    def __init__(self, encoder: CnnEncoder) -> None:
        convolutions = [layer for layer in encoder.layers if isinstance(layer, nn.Conv2d)]
        self._layers = [_patch_layer(layer) for layer in convolutions]

    def __call__(self, image: Tensor) -> Tensor:
        """(64, 64, 3) float32 in [-1, 1] -> (size,) float32."""
        value = image
        for layer in self._layers:
            height, width, channels = value.shape
            rows, columns = (height - KERNEL) // STRIDE + 1, (width - KERNEL) // STRIDE + 1
            down, right, deep = value.stride()
            patches = value.as_strided(
                (rows, columns, KERNEL, KERNEL, channels),
                (STRIDE * down, STRIDE * right, down, right, deep),
            ).reshape(rows * columns, -1)
            value = functional.elu_(torch.addmm(layer.bias, patches, layer.weight))
            value = value.view(rows, columns, -1)
        return value.permute(2, 0, 1).flatten()  # as nn.Flatten has it: channels first


def _patch_layer(layer: nn.Conv2d) -> PatchLayer:
    assert layer.bias is not None
    assert layer.kernel_size == (KERNEL, KERNEL) and layer.stride == (STRIDE, STRIDE)
    weight = layer.weight.detach().permute(2, 3, 1, 0).reshape(-1, layer.out_channels)
    return PatchLayer(weight.contiguous(), layer.bias.detach())
