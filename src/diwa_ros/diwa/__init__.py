# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Offline adaptation of diffusion policies inside a world model. No ROS in here.

Axes, used in every shape comment and docstring:

====  ==========================================================
B     batch: windows of data, or dreams that run side by side
T     environment steps at the control rate (``seq_len``)
H     imagined environment steps (``imag_horizon``)
Tp    actions in a chunk as predicted (``pred_horizon``)
Ta    actions of a chunk that are executed (``act_horizon``)
A     action size: 7 (relative TCP position 3, rotation 3, gripper)
K     denoising steps; ``k`` counts from K-1 (noise) down to 0
F     latent feature size: ``deter`` + ``stoch`` flattened
S, C  categorical variables, and classes of each
N     episodes or samples
====  ==========================================================
"""

__version__ = "0.1.0"
