# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What `diwa dataset doctor` looks at, one module per kind of fault.

Every check is a function that takes what there is and returns findings; none of them changes
anything or stops at the first fault.
"""
