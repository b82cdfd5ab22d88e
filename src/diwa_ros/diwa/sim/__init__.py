# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated play table: scene, tasks, scripted skills, evaluation."""
