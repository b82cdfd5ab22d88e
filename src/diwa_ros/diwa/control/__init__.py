# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What stands between an action and an arm: pure arithmetic, no ROS, no hardware."""
