# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The `diwa` command: everything that works without ROS. Calls the library, sets exit codes.

What a subcommand needs is imported when it runs, so that `--help` is quick and a Ctrl-C during the
imports ends as cleanly as one later.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence

from diwa.arguments import parse
from diwa.commands import load_commands
from diwa.errors import ConfigError
from diwa.train.stop import EXIT_INTERRUPTED, Interrupted

EXIT_MISTAKE = 2
EXIT_FAILED = 1
USER_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)

COMMANDS = load_commands()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn what users can mend into one message and an exit code."""
    arguments = parse(argv, COMMANDS)
    try:
        return COMMANDS[arguments.command].run(arguments)
    except ConfigError as error:
        _say(f"diwa: {error}")
        return EXIT_MISTAKE
    except (Interrupted, KeyboardInterrupt):
        if argv is None:  # this process ends now: a further Ctrl-C has nothing left to stop
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        _say("diwa: stopped; the same command goes on from what was saved")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `diwa info ... | head`
        return EXIT_FAILED
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        _say(f"diwa: {error.strerror}: {error.filename or 'while writing'}")
        return EXIT_FAILED


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
