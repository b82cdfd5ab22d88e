# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Success read off the decoded state, in the place of the learned classifier (an ablation)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diwa.world_model.model import WorldModel


class DecodedSuccess(nn.Module):
    """Whether one entry of a decoded vector is beyond a bound.

    Args:
        world_model: decodes.
        key: of the vector.
        column: of the entry among those of the key that the model predicts.
        bound: in the data's own units.
        above: success lies above the bound, else below.
    """

    def __init__(
        self, world_model: WorldModel, key: str, column: int, bound: float, *, above: bool
    ) -> None:
        super().__init__()
        self._decode = [world_model]  # not a part of this module: it has no weights of its own
        self.key = key
        self.column = column
        self.bound = bound
        self.above = above

    @torch.no_grad()
    def forward(self, latent: Tensor) -> Tensor:
        """(..., F) -> 1 where it is a success, else 0: (...) float32."""
        value = self._decode[0].decode_vector(latent, self.key)[..., self.column]
        return (value > self.bound if self.above else value < self.bound).float()
