# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""How the recorder is, for `/diagnostics`."""

from __future__ import annotations

from collections.abc import Sequence

from diwa_ros.diagnostics import ERROR, OK, WARN, Report
from diwa_ros.recording_session import RecordingSession


def recorder_health(session: RecordingSession | None, silent: Sequence[str]) -> Report:
    """One line, and figures of the episodes.

    Args:
        session: of the recorder; None while it is not configured.
        silent: topics from which nothing comes.
    """
    if session is None:
        return Report(WARN, "no contract is loaded", {})
    tally = session.finished.tally
    figures = {
        "episodes": tally.kept,
        "episodes out of tolerance": tally.flagged,
        "free space [GB]": session.free_bytes() / 1e9,
    }
    if session.error:
        return Report(ERROR, session.error, figures)
    if silent:
        return Report(WARN, f"nothing arrives on {', '.join(silent)}", figures)
    if session.recording is None:
        return Report(OK, "no episode is open", figures)
    problems = session.recording.problems()
    if problems:
        return Report(WARN, "; ".join(problems), figures)
    return Report(OK, f"recording {session.recording.opening.id}", figures)
