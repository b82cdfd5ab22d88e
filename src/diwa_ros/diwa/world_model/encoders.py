# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Observations in, embedding out: normalisation, MLP and CNN encoders (DiWA appendix, LUMOS)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from diwa.errors import ConfigError
from diwa.world_model.config import InputConfig, WorldModelConfig

Statistics = Mapping[str, Mapping[str, np.ndarray]]
STILL = 1e-3  # an entry that never moved more keeps its unit: nothing is known of its size
IMAGE_SIZE = 64  # [px], what the four strided convolutions are made for


def mlp(inputs: int, units: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Linear-ELU layers ending in a plain Linear."""
    layers: list[nn.Module] = []
    for width in units:
        layers += [nn.Linear(inputs, width), nn.ELU()]
        inputs = width
    layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


class Normaliser(nn.Module):
    """Selects entries of a vector key and brings them to comparable size; images to [-1, 1].

    Its constants are buffers, so a checkpoint carries them.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, config: InputConfig, statistics: Statistics) -> None:
        super().__init__()
        self.config = config
        self.indices = list(config.indices)
        if config.encoder == "cnn":
            offset, scale = np.full(1, 127.5), np.full(1, 127.5)
        else:
            if config.key not in statistics:
                raise ConfigError(
                    f"world_model.inputs: {config.key}",
                    got=f"the dataset has {sorted(statistics)}",
                    hint="choose keys that the dataset's contract records",
                )
            offset, scale = self._from_statistics(statistics[config.key])
        self.register_buffer("offset", torch.as_tensor(offset, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))

    def _from_statistics(self, item: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if self.config.normalise == "standard":
            offset, scale = np.asarray(item["mean"]), np.asarray(item["std"])
        else:
            offset = np.asarray(item["min"])
            scale = np.asarray(item["max"]) - offset
        scale = np.where(scale < STILL, 1.0, scale)
        if self.indices and max(self.indices) >= len(offset):
            raise ConfigError(
                f"world_model.inputs: {self.config.key}.indices",
                got=self.indices,
                expected=f"entries below {len(offset)}",
            )
        return (offset[self.indices], scale[self.indices]) if self.indices else (offset, scale)

    def forward(self, value: Tensor) -> Tensor:
        """(..., size) any dtype -> (..., selected) float32 normalised; images (..., h, w, 3)."""
        if self.config.encoder == "cnn":  # large: in one piece of memory, three times as fast
            return value.to(torch.float32, copy=True).sub_(self.offset).div_(self.scale)
        value = value.float()
        if self.indices:
            value = value[..., self.indices]
        return (value - self.offset) / self.scale

    def invert(self, value: Tensor) -> Tensor:
        """Back to the data's own units: (..., selected) float32."""
        return value * self.scale + self.offset


class CnnEncoder(nn.Module):
    """Four 4x4 stride-2 convolutions without padding: 64 -> 31 -> 14 -> 6 -> 2 px."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        channels = (3, depth, 2 * depth, 4 * depth, 8 * depth)
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, kernel_size=4, stride=2), nn.ELU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.size = 8 * depth * 2 * 2

    def forward(self, image: Tensor) -> Tensor:
        """(..., 64, 64, 3) float32 in [-1, 1] -> (..., size) float32."""
        assert image.shape[-3:] == (IMAGE_SIZE, IMAGE_SIZE, 3), image.shape
        flat = image.reshape(-1, *image.shape[-3:]).permute(0, 3, 1, 2)
        return self.layers(flat).reshape(*image.shape[:-3], self.size)


class Encoder(nn.Module):
    """Joins all inputs into one embedding.

    Keys with `mlp` or `cnn` are encoded, joined and projected to `embed` (Linear, LayerNorm, ELU);
    keys with `none` are put beside that as they are, as the paper does with proprioception; keys
    with `target` are left out.
    """

    def __init__(self, config: WorldModelConfig, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.config = config
        encoders: dict[str, nn.Module] = {}
        joined = 0
        for item in config.inputs:
            if item.encoder == "cnn":
                cnn = CnnEncoder(config.cnn_depth)
                encoders[item.key] = cnn
                joined += cnn.size
            elif item.encoder == "mlp":
                encoders[item.key] = nn.Sequential(
                    mlp(sizes[item.key], config.mlp_units, config.embed), nn.ELU()
                )
                joined += config.embed
        self.encoders = nn.ModuleDict(encoders)
        self.plain = [item.key for item in config.inputs if item.encoder == "none"]
        plain_size = sum(sizes[key] for key in self.plain)
        if encoders:
            self.project: nn.Module = nn.Sequential(
                nn.Linear(joined, config.embed), nn.LayerNorm(config.embed, eps=1e-3), nn.ELU()
            )
            self.size = config.embed + plain_size
        else:
            self.project = nn.Identity()
            self.size = plain_size

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Normalised inputs (..., size of the key) -> embedding (..., E) float32."""
        parts: list[Tensor] = []
        if len(self.encoders) > 0:
            encoded = [encoder(inputs[key]) for key, encoder in self.encoders.items()]
            parts.append(self.project(torch.cat(encoded, dim=-1)))
        parts += [inputs[key] for key in self.plain]
        return torch.cat(parts, dim=-1)
