# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic, in one place.

A reliable publisher serves reliable and best-effort subscribers alike; the other way round nothing
is ever delivered. So the bridges publish observations reliably, and the contract says how they are
subscribed to.
"""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from diwa.data.contract import Stream

OBSERVATION_DEPTH = 50  # more than a second at 30 Hz, or a burst in step with the actions
# A message lost on the way is asked for again, with Fast DDS perhaps only after 3 s: what a
# reliable publisher does not keep for longer is then lost for good.
PUBLISHED_DEPTH = 120


def reliable(depth: int, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE) -> QoSProfile:
    """Reliable, keeping the last `depth` messages."""
    return QoSProfile(
        reliability=ReliabilityPolicy.RELIABLE,
        durability=durability,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
    )


OBSERVATION = reliable(PUBLISHED_DEPTH)
COMMAND = reliable(10)
STATUS = reliable(10)
DIAGNOSTICS = reliable(10)
EVENT = reliable(10, DurabilityPolicy.TRANSIENT_LOCAL)  # late subscribers see the last ones

LATCHED = reliable(1, DurabilityPolicy.TRANSIENT_LOCAL)  # only what is true now


def subscription_qos(stream: Stream, depth: int = OBSERVATION_DEPTH) -> QoSProfile:
    """How to subscribe to a stream of the contract."""
    best_effort = stream.reliability == "best_effort"
    return QoSProfile(
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
    )
