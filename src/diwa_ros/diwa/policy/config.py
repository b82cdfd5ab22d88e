# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes of the diffusion policy. Defaults are the paper's."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from diwa.config import Config

PositiveInt = Annotated[int, pydantic.Field(gt=0)]
PositiveFloat = Annotated[float, pydantic.Field(gt=0)]


class PolicyConfig(Config):
    """DDPM over action chunks, conditioned on one latent (DiWA section 3.2, DPPO)."""

    steps: PositiveInt = 20  # K, denoising steps
    finetune_steps: PositiveInt = 10  # K', the last ones, trained by PPO
    pred_horizon: PositiveInt = 4  # Tp
    act_horizon: PositiveInt = 4  # Ta, executed before the next chunk
    action_size: Literal[7] = 7
    hidden: PositiveInt = 512
    blocks: PositiveInt = 1  # residual blocks of two layers
    time_embed: PositiveInt = 16
    min_sampling_std: PositiveFloat = 0.1  # exploration floor while training
    noise_clip: PositiveFloat = 3.0  # unit noise is clamped to this many standard deviations
    serve_steps: PositiveInt | None = None  # DDIM steps when acting; None: all K, with noise

    @pydantic.model_validator(mode="after")
    def _horizons_fit(self) -> PolicyConfig:
        if self.act_horizon > self.pred_horizon:
            raise ValueError("act_horizon must not exceed pred_horizon")
        if self.finetune_steps > self.steps:
            raise ValueError("finetune_steps must not exceed steps")
        if self.serve_steps is not None and self.serve_steps > self.steps:
            raise ValueError("serve_steps must not exceed steps")
        return self
