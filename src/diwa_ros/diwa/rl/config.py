# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of fine-tuning in the dream. Defaults are the paper's, with BC regularisation on."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from diwa.config import Config

PositiveInt = Annotated[int, pydantic.Field(gt=0)]
PositiveFloat = Annotated[float, pydantic.Field(gt=0)]
Scale = Annotated[float, pydantic.Field(ge=0)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class DreamConfig(Config):
    """The imagined environment."""

    dreams: PositiveInt = 50  # side by side
    max_chunks: PositiveInt = 18  # an episode is cut after this many chunks
    reward: Literal["classifier", "decoded"] = "classifier"  # decoded: the task's own condition
    # Of the world model's matrix products; bf16 suits a model that was trained with it.
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    success_threshold: Share = 0.5  # classifier probability that counts as solved


class PPOConfig(Config):
    """PPO on the Dream Diffusion MDP (DiWA section 3.4, appendix; DPPO)."""

    iterations: PositiveInt = 800
    chunks: PositiveInt = 36  # chunk steps collected per dream and iteration
    epochs: PositiveInt = 10
    # Of matrix products: bf16 rounds those of gradients and of the cloning term, never those that
    # ratios come from; auto: where the processor multiplies bf16 faster.
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    batch: PositiveInt = 7500  # chunk steps in a minibatch; all K' denoising steps of each
    actor_lr: PositiveFloat = 1.0e-5
    critic_lr: PositiveFloat = 1.0e-3
    critic_hidden: PositiveInt = 256
    warmup_iterations: int = 10  # linear learning-rate warm-up
    critic_iterations: int = 2  # at the start only the critic learns
    gamma: Share = 0.999  # per chunk
    gae_lambda: Share = 0.95
    gamma_denoise: Share = 0.99
    clip_coef: PositiveFloat = 0.01  # at the last denoising step
    clip_coef_base: PositiveFloat = 0.001  # at the noisiest trained step
    clip_coef_rate: PositiveFloat = 3.0
    value_scale: Scale = 0.5
    bc_scale: Scale = 0.05
    bc_samples: PositiveInt = 2048  # latents with a base-policy chain, per iteration
    bc_batch: PositiveInt | None = None  # of those, per minibatch; None: as many as chunk steps
    target_kl: PositiveFloat = 1.0
    max_grad_norm: PositiveFloat | None = None
    reward_gamma: Share = 0.99  # of the running reward scale
    reward_clip: PositiveFloat = 10.0
    eval_every: PositiveInt = 10  # iterations between greedy evaluations in the dream
    eval_dreams: PositiveInt = 256
    patience: PositiveInt | None = None  # evaluations without a new best before stopping early
    # A held-out score that ends the learning: beyond it dreams teach little but the model's errors.
    enough: Share | None = None
    collapse_drop: Share = 0.3  # a score this far below the best one: back to the best weights
    max_rollbacks: Annotated[int, pydantic.Field(ge=0)] = 3
