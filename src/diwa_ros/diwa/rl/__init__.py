# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""PPO over denoising steps inside the dream (the Dream Diffusion MDP)."""
