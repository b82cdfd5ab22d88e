# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How alike two images are: mean squared error, PSNR and SSIM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 11  # [px], side of the SSIM window
SIGMA = 1.5  # [px], of its Gaussian weights
C1, C2 = 0.01**2, 0.03**2  # for a range of 1


def mse(image: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error: (N, h, w, 3) float32 in [0, 1], twice -> (N,)."""
    return (image - truth).square().flatten(1).mean(dim=1)


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio [dB]: (N, h, w, 3) float32 in [0, 1], twice -> (N,)."""
    return -10 * mse(image, truth).clamp_min(1e-10).log10()


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity with Gaussian windows (Wang et al. 2004), mean over the channels.

    Windows that reach over the border are left out.

    Args:
        image: (N, h, w, 3) float32 in [0, 1].
        truth: the same.

    Returns:
        (N,) float32 in [-1, 1]; 1 for equal images.
    """
    x, y = (value.permute(0, 3, 1, 2).flatten(0, 1).unsqueeze(1) for value in (image, truth))
    offset = torch.arange(WINDOW, device=image.device) - WINDOW // 2
    weight = torch.exp(-offset.square() / (2 * SIGMA**2))
    weight = weight / weight.sum()

    def smooth(value: Tensor) -> Tensor:
        rows = functional.conv2d(value, weight.view(1, 1, 1, -1))
        return functional.conv2d(rows, weight.view(1, 1, -1, 1))

    mean_x, mean_y = smooth(x), smooth(y)
    spread_x = smooth(x * x) - mean_x.square()
    spread_y = smooth(y * y) - mean_y.square()
    common = smooth(x * y) - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + C1) * (2 * common + C2)
    likeness = likeness / (mean_x.square() + mean_y.square() + C1)
    likeness = likeness / (spread_x + spread_y + C2)
    return likeness.flatten(1).mean(dim=1).view(len(image), -1).mean(dim=1)
