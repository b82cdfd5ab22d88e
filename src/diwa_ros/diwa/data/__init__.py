# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Recorded data: the contract, bags, frames, and the memory-mapped dataset."""
