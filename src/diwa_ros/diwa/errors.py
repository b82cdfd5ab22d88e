# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The one exception for user mistakes. Command lines print it and exit with 2."""


class ConfigError(ValueError):
    """A file, setting or argument from the user that cannot be used.

    Args:
        what: the file or setting, named so that the user finds it.
        got: what was found there.
        expected: what would have been right.
        hint: what to do next.
    """

    def __init__(
        self, what: str, *, got: object = None, expected: str = "", hint: str = ""
    ) -> None:
        self.what, self.got, self.expected, self.hint = what, got, expected, hint
        parts = [what]
        if got is not None:
            parts.append(f"  found:    {got}")
        if expected:
            parts.append(f"  expected: {expected}")
        if hint:
            parts.append(f"  next:     {hint}")
        super().__init__("\n".join(parts))
