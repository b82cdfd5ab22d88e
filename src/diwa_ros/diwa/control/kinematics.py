# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Where the links of a Franka arm are, and what its joints do to the TCP.

Denavit-Hartenberg parameters (modified, after Craig) as the maker publishes them; they are the same
for the FR3 and the Panda. Frames are those of the arm's base.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

A = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)  # [m]
D = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)  # [m]
ALPHA = (0.0, -np.pi / 2, np.pi / 2, np.pi / 2, -np.pi / 2, np.pi / 2, np.pi / 2)
FLANGE = 0.107  # [m] from the last joint, along its axis


class Chain(NamedTuple):
    """The arm at some joint positions, in the frame of its base."""

    axes: np.ndarray  # (7, 3) float64, unit vectors along the joints
    origins: np.ndarray  # (7, 3) float64 [m], points on these axes
    flange: np.ndarray  # (3,) float64 [m]
    rotation: np.ndarray  # (3, 3) float64, of the flange

    def jacobian(self, tcp: np.ndarray) -> np.ndarray:
        """(6, 7) float64: motion [m], turn [rad] per rad of each joint, of a point `tcp` (3,)."""
        return np.concatenate([np.cross(self.axes, tcp - self.origins), self.axes], axis=1).T


def franka_chain(joints: np.ndarray) -> Chain:
    """The arm at joint positions (7,) [rad]."""
    rotation, origin = np.eye(3), np.zeros(3)
    axes, origins = np.empty((7, 3)), np.empty((7, 3))
    for index, angle in enumerate(joints):
        ca, sa = np.cos(ALPHA[index]), np.sin(ALPHA[index])
        ct, st = np.cos(angle), np.sin(angle)
        origin = origin + rotation @ (A[index], -sa * D[index], ca * D[index])
        rotation = rotation @ np.array(
            [[ct, -st, 0.0], [st * ca, ct * ca, -sa], [st * sa, ct * sa, ca]]
        )
        axes[index], origins[index] = rotation[:, 2], origin
    return Chain(axes, origins, origin + FLANGE * rotation[:, 2], rotation)
