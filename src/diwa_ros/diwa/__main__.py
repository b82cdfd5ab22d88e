# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m diwa` is the `diwa` command."""

import sys

from diwa.cli import main

if __name__ == "__main__":
    sys.exit(main())
