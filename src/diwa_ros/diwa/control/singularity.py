# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How near an arm is to a pose from which it cannot move in every direction."""

from __future__ import annotations

import numpy as np


def smallest_singular_value(jacobian: np.ndarray) -> float:
    """Of a Jacobian (6, 7) float64 [m, rad per rad]; 0 where it is not finite.

    Its inverse is the joint speed that the hardest direction of the TCP costs; it is 0 at a
    singular pose.
    """
    if not np.isfinite(jacobian).all():
        return 0.0
    return float(np.linalg.svd(jacobian, compute_uv=False)[-1])
