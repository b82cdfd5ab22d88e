# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Sizes and weights of the world model; sizes default to the vision model of the DiWA paper."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from diwa.config import Config

PositiveInt = Annotated[int, pydantic.Field(gt=0)]
Scale = Annotated[float, pydantic.Field(ge=0)]


class InputConfig(Config):
    """One observation key as the world model sees it."""

    key: str
    # none: joined to the embedding as it is. target: never looked at, only predicted.
    encoder: Literal["none", "mlp", "cnn", "target"] = "mlp"
    indices: tuple[int, ...] = ()  # vectors: which entries are used; empty: all
    recon_scale: Scale = 1.0  # weight of 0.5 * squared error; 0: not reconstructed
    normalise: Literal["standard", "minmax"] = "standard"  # vectors; images map to [-1, 1]

    @pydantic.model_validator(mode="after")
    def _has_a_use(self) -> InputConfig:
        if self.encoder == "target" and self.recon_scale == 0:
            raise ValueError(f"{self.key}: neither looked at nor predicted")
        return self


class WorldModelConfig(Config):
    """Recurrent state-space model with categorical latents (Dreamer-style, paper section 3.1)."""

    inputs: tuple[InputConfig, ...]
    deter: PositiveInt = 1024
    stoch: PositiveInt = 32  # categorical variables
    classes: PositiveInt = 32  # classes of each variable
    hidden: PositiveInt = 1000
    embed: PositiveInt = 1536  # joint size of what the encoders give
    mlp_units: tuple[PositiveInt, ...] = (400,)  # hidden layers of vector encoders and decoders
    cnn_depth: PositiveInt = 48
    shared_projection: bool = False  # one first layer for the decoders of all cameras (the paper)
    initialise: Literal["torch", "xavier"] = "torch"  # encoders and decoders; the RSSM is Xavier's
    # Of the frames of a training step, those whose images are decoded, drawn anew each time.
    image_share: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    start_from_observation: bool = False  # an episode's first `deter` comes from its first frame
    kl_scale: Scale = 0.3
    kl_balance: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.8  # share of the `dyn` term
    free_nats: Scale = 0.0
    unimix: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.0  # uniform share of the classes
    overshoot_scale: Scale = 0.0  # weight of reconstruction from dreamed latents
    overshoot_context: PositiveInt = 4  # observed steps before such a dream starts [steps]

    @property
    def feat(self) -> int:
        """Size F of a latent: `deter` + flattened `stoch`."""
        return self.deter + self.stoch * self.classes

    @property
    def observed(self) -> tuple[str, ...]:
        """Keys that the model looks at; acting needs these, and no others."""
        return tuple(item.key for item in self.inputs if item.encoder != "target")

    @pydantic.model_validator(mode="after")
    def _has_inputs(self) -> WorldModelConfig:
        if not self.observed:
            raise ValueError("the world model needs at least one input")
        return self
