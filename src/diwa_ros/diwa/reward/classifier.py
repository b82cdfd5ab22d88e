# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The success classifier on latents: supervised NT-Xent plus cross-entropy (DiWA section 3.3)."""

from __future__ import annotations

from typing import Annotated

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional

from diwa.config import Config

PositiveInt = Annotated[int, pydantic.Field(gt=0)]
PositiveFloat = Annotated[float, pydantic.Field(gt=0)]


class ClassifierConfig(Config):
    """Sizes and loss of the classifier; defaults follow the paper."""

    encoder_units: PositiveInt = 512
    embed: PositiveInt = 512
    head_units: PositiveInt = 512
    temperature: PositiveFloat = 0.5
    ce_scale: PositiveFloat = 1.0
    contrastive_scale: Annotated[float, pydantic.Field(ge=0)] = 1.0


class SuccessClassifier(nn.Module):
    """Probability that the task is solved in a latent."""

    def __init__(self, config: ClassifierConfig, feat: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.Sequential(
            nn.Linear(feat, config.encoder_units),
            nn.ReLU(),
            nn.Linear(config.encoder_units, config.embed),
        )
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Linear(config.embed, config.head_units),
            nn.ReLU(),
            nn.Linear(config.head_units, 2),
        )

    def forward(self, latent: Tensor) -> Tensor:
        """(..., F) -> probability of success (...) in [0, 1]."""
        return self.head(self.encoder(latent)).softmax(dim=-1)[..., 1]

    def loss(self, latent: Tensor, label: Tensor) -> Tensor:
        """`latent` (B, F) float32, `label` (B,) int64 in {0, 1}: scalar."""
        embed = self.encoder(latent)
        cross_entropy = functional.cross_entropy(self.head(embed), label)
        total = self.config.ce_scale * cross_entropy
        if self.config.contrastive_scale > 0:
            contrast = supervised_nt_xent(embed, label, self.config.temperature)
            total = total + self.config.contrastive_scale * contrast
        return total


def supervised_nt_xent(embed: Tensor, label: Tensor, temperature: float) -> Tensor:
    """NT-Xent with all samples of the same label as positives (Khosla et al. 2020, L_out).

    Args:
        embed: (B, E) float32; compared by cosine similarity.
        label: (B,) int64.
        temperature: divides the similarities.
    """
    unit = functional.normalize(embed, dim=-1)
    similarity = unit @ unit.T / temperature
    own = torch.eye(len(label), dtype=torch.bool, device=embed.device)
    log_prob = similarity - similarity.masked_fill(own, -torch.inf).logsumexp(1, keepdim=True)
    positive = (label[:, None] == label[None, :]) & ~own
    count = positive.sum(dim=1)
    per_anchor = -(log_prob * positive).sum(dim=1) / count.clamp_min(1)
    anchors = count > 0
    if not bool(anchors.any()):
        return embed.sum() * 0.0
    return per_anchor[anchors].mean()
