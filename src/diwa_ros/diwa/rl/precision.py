# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the matrix products of dreams and of PPO are rounded to."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from diwa.policy.fused_denoiser import EXACT, Products

Precision = Literal["fp32", "bf16", "auto"]


class PPOProducts(NamedTuple):
    """Of the surrogate, whose ratios must be exact, and of the cloning term."""

    surrogate: Products
    cloning: Products


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    checks = [getattr(torch.cpu, name, None) for name in names]
    return device.type == "cpu" and any(check is not None and check() for check in checks)


def rounds(precision: Precision, device: torch.device) -> bool:
    """Whether products take bfloat16; with `auto`, where that is faster."""
    return precision == "bf16" or (precision == "auto" and multiplies_bf16(device))


def products_of(precision: Precision, device: torch.device) -> PPOProducts:
    """For one update."""
    if not rounds(precision, device):
        return PPOProducts(EXACT, EXACT)
    short = torch.bfloat16
    return PPOProducts(Products(backward=short), Products(short, short))
