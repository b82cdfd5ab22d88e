#!/bin/sh
# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
# Says what this machine lacks for running ROS nodes without a ROS installation, before pip fails.
set -u
problems=""
note() {
    problems="$problems
    $1"
}

[ "$(uname -s)" = Linux ] || note "this is $(uname -s); there are ROS wheels for Linux only"
[ "$(uname -m)" = x86_64 ] || note "this is $(uname -m); there are ROS and PyBullet wheels for x86_64 only"
if [ -z "$problems" ]; then
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
    case "$libc" in
    "") note "the C library is not glibc, which the ROS wheels need" ;;
    2.?|2.1?|2.2[0-7]) note "glibc is $libc; the ROS wheels need 2.28 (Debian 10, Ubuntu 20.04) or newer" ;;
    esac
fi
for tool in gcc g++ make cmake; do
    command -v $tool >/dev/null 2>&1 ||
        note "$tool is missing (Debian, Ubuntu: apt install build-essential cmake)"
done
[ -z "$problems" ] && exit 0
cat >&2 <<END

This machine cannot run the nodes from PyPI packages alone.
  found:$problems
  expected: Linux on x86_64 with glibc 2.28 or newer, gcc, g++, make and cmake
  next:     install what is missing; or use a ROS 2 installation with colcon (Humble, Jazzy, Kilted;
            the way for aarch64, such as a Jetson): see README.md;
            or Docker: see docker/compose.yaml.

END
exit 1
