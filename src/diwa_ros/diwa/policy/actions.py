# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What a sampled action becomes before anything moves, in dream, simulator and robot alike."""

from __future__ import annotations

import torch
from torch import Tensor

GRIPPER = 6  # index of the gripper in an action


def executable(action: Tensor, gripper_threshold: float = 0.0) -> Tensor:
    """Clip to [-1, 1] and make the gripper binary.

    Args:
        action: (..., A) float32.
        gripper_threshold: at or above it the gripper opens.

    Returns:
        (..., A) float32 in [-1, 1], the gripper -1 (close) or +1 (open).
    """
    gripper = torch.where(action[..., GRIPPER:] >= gripper_threshold, 1.0, -1.0)
    return torch.cat((action[..., :GRIPPER].clamp(-1, 1), gripper.to(action.dtype)), dim=-1)
