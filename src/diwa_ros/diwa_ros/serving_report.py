# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What the policy server says of itself: status, feedback and diagnostics."""

from __future__ import annotations

from diwa_msgs.action import RunSkill
from diwa_msgs.msg import PolicyStatus

from diwa_ros.diagnostics import ERROR, OK, WARN, Report
from diwa_ros.interlocks import Outcome
from diwa_ros.skill_engine import ActiveSkill, SkillEngine


def fill_status(status: PolicyStatus, engine: SkillEngine | None, serving: bool) -> None:
    """Set state and figures."""
    status.state = _state(engine, serving)
    if engine is None:
        return
    status.latency_p50, status.latency_p95, status.latency_p99 = engine.latencies.percentiles()
    skill = engine.latest
    if skill is None:
        return
    status.budget_misses, status.late_steps = skill.budget_misses, skill.late_steps
    if engine.skill is not None:
        run = skill.run
        status.epoch, status.frames, status.chunks = run.epoch, run.frames, run.chunks
        status.success_probability = run.probability


def _state(engine: SkillEngine | None, serving: bool) -> int:
    if engine is None:
        return int(PolicyStatus.UNCONFIGURED)
    if not serving:
        return int(PolicyStatus.INACTIVE)
    if engine.skill is not None:
        running = engine.skill.newest_ns > 0
        return int(PolicyStatus.RUNNING if running else PolicyStatus.WAITING)
    return int(PolicyStatus.FAULT if engine.fault else PolicyStatus.IDLE)


def skill_feedback(engine: SkillEngine, skill: ActiveSkill) -> RunSkill.Feedback:
    """How far a skill is."""
    run, limit_s = skill.run, skill.limits.time_s
    return RunSkill.Feedback(
        progress=min(run.elapsed_s / limit_s, 1.0) if limit_s else 1.0,
        success_probability=run.probability,
        latency=engine.latencies.last,
        steps=run.frames,
    )


def serving_report(engine: SkillEngine | None, blocked: Outcome | None, message: str) -> Report:
    """For `/diagnostics`."""
    if engine is None:
        return Report(WARN, "no checkpoint is loaded", {})
    p50, p95, p99 = (1000 * value for value in engine.latencies.percentiles())
    values: dict[str, object] = {
        "latency p50 [ms]": p50,
        "latency p95 [ms]": p95,
        "latency p99 [ms]": p99,
    }
    if engine.latest is not None:
        values["budget misses"] = engine.latest.budget_misses
        values["late steps"] = engine.latest.late_steps
    if engine.fault:
        return Report(ERROR, engine.fault, values)
    if blocked is not None:
        return Report(ERROR, blocked.message, values)
    return Report(OK, message or "ready", values)
