#!/bin/sh
# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
# Prints a Python that the environment can be made of: $1 if given, else the first that serves.
# Says on stderr what is wrong with each one that does not.
set -u

# One line about what an interpreter lacks; nothing when it serves.
check='
import importlib.util, os, sys, sysconfig
if not (3, 10) <= sys.version_info[:2] <= (3, 12):
    print("is Python %d.%d" % sys.version_info[:2])
elif importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
    print("has no venv module (Debian, Ubuntu: apt install python%d.%d-venv)" % sys.version_info[:2])
elif not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    print("has no C headers (Debian, Ubuntu: apt install python%d.%d-dev)" % sys.version_info[:2])
'

lacks() { # pyenv leaves shims behind that fail when they are run
    problem=$("$1" -c "$check" 2>/dev/null) || problem="cannot be run"
    [ -n "$problem" ]
}

if [ -n "${1:-}" ]; then
    candidates=$1
else
    candidates="python3.11 python3.10 python3.12 python3 /usr/bin/python3.11 /usr/bin/python3.10 /usr/bin/python3.12"
fi
tried=""
for candidate in $candidates; do
    path=$(command -v "$candidate" 2>/dev/null) || continue
    if lacks "$path"; then
        tried="$tried
    $path $problem"
        continue
    fi
    # Of an active environment, the Python that it was made of.
    "$path" -c 'import sys; print(getattr(sys, "_base_executable", None) or sys.executable)'
    exit 0
done
cat >&2 <<END

No Python that serves was found.
  found:    ${tried:-none of: $candidates}
  expected: Python 3.10, 3.11 or 3.12 with venv and C headers
  next:     install one (Ubuntu 22.04, Debian 12, Ubuntu 24.04: apt install python3-venv python3-dev),
            or name one: make PYTHON=/path/to/python3.11 ...
            With an older or newer Python only, use Docker: see docker/compose.yaml.

END
exit 1
