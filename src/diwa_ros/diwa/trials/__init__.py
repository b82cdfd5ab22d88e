# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Blind paired trials of two checkpoints: the plan, the sealed order, the log, the result."""
