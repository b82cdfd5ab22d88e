# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""All eight skills, low-dimensional: `results_skills.py lowdim`, and the same options."""

from __future__ import annotations

import sys

from result_files import run_command
from results_skills import main

if __name__ == "__main__":
    sys.exit(run_command(lambda: main(["lowdim", *sys.argv[1:]])))
