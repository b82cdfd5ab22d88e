#!/bin/bash
# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
# Sets ROS and this workspace up, then becomes the command.
set -e
. /opt/diwa/setup.bash
exec "$@"
