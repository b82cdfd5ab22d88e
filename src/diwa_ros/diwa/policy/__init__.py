# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The diffusion policy: noise schedule, denoiser, sampling and pre-training loss."""
