# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""One short loop per learning stage, checkpoints, the run folder and the report."""
