# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes around the diwa library. Nodes move data; they do no maths."""
