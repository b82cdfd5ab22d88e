# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The world model: encoders, RSSM, decoders, loss and open-loop metrics."""
