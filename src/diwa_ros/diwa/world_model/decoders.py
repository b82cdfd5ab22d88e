# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Latents back to observations: one MLP for vectors, transposed convolutions for images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diwa.world_model.config import WorldModelConfig
from diwa.world_model.encoders import mlp


class CnnDecoder(nn.Module):
    """Linear, then four stride-2 transposed convolutions: 1 -> 5 -> 13 -> 30 -> 64 px.

    Args:
        feat: size of a latent; None: what comes has been through the Linear already.
        depth: channels of the last but one layer.
    """

    def __init__(self, feat: int | None, depth: int) -> None:
        super().__init__()
        self.width = 32 * depth
        self.project = nn.Identity() if feat is None else nn.Linear(feat, self.width)
        channels = (self.width, 4 * depth, 2 * depth, depth, 3)
        kernels = (5, 5, 6, 6)
        layers: list[nn.Module] = []
        for index, kernel in enumerate(kernels):
            layers += [
                nn.ConvTranspose2d(channels[index], channels[index + 1], kernel, stride=2),
                nn.ELU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, feat: Tensor) -> Tensor:
        """(..., F or width) -> (..., 64, 64, 3) float32, normalised image in about [-1, 1]."""
        image = self.layers[1:](self._first(self.project(feat))).permute(0, 2, 3, 1)
        return image.reshape(*feat.shape[:-1], *image.shape[1:])

    def _first(self, value: Tensor) -> Tensor:
        """The first layer, (..., width) -> (N, C, 5, 5): of one pixel, it is a matrix product.

        On a CPU that takes a tenth of the time.
        """
        layer = self.layers[0]
        assert isinstance(layer, nn.ConvTranspose2d) and layer.bias is not None
        weight = layer.weight.permute(0, 2, 3, 1)  # (width, 5, 5, C)
        grown = value.reshape(-1, self.width) @ weight.flatten(1)
        return grown.view(-1, *weight.shape[1:]).add(layer.bias).permute(0, 3, 1, 2)


class Decoder(nn.Module):
    """All reconstructed keys from one latent."""

    def __init__(self, config: WorldModelConfig, sizes: Mapping[str, int]) -> None:
        super().__init__()
        used = [item for item in config.inputs if item.recon_scale > 0]
        self.vectors = {item.key: sizes[item.key] for item in used if item.encoder != "cnn"}
        cameras = [item.key for item in used if item.encoder == "cnn"]
        shared = config.shared_projection and bool(cameras)
        self.shared = nn.Linear(config.feat, 32 * config.cnn_depth) if shared else nn.Identity()
        size = None if shared else config.feat
        self.images = nn.ModuleDict({key: CnnDecoder(size, config.cnn_depth) for key in cameras})
        total = sum(self.vectors.values())
        self.head = mlp(config.feat, config.mlp_units, total) if total else None

    def forward(self, feat: Tensor) -> dict[str, Tensor]:
        """(..., F) -> normalised prediction of each key, (..., size) or (..., 64, 64, 3)."""
        return self.decode_vectors(feat) | self.decode_images(feat)

    def decode_images(self, feat: Tensor) -> dict[str, Tensor]:
        """(..., F) -> normalised prediction of each image key, (..., 64, 64, 3)."""
        shared = self.shared(feat)
        return {key: decoder(shared).float() for key, decoder in self.images.items()}

    def decode_vectors(self, feat: Tensor) -> dict[str, Tensor]:
        """(..., F) -> normalised prediction of each vector key, (..., size)."""
        if self.head is None:
            return {}
        parts = torch.split(self.head(feat).float(), list(self.vectors.values()), dim=-1)
        return dict(zip(self.vectors, parts, strict=True))
