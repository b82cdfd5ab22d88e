# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What is counted of a topic's arrival, against what was made to happen to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diwa.data.cadence import TopicCadence
from diwa.data.contract import Cadence
from diwa.data.episode_cadence import (
    EpisodeCadence,
    describe_problems,
    expected_rates,
    shortfall,
)

SECOND = 10**9
PERIOD = SECOND // 50
LIMITS = Cadence(max_loss=0.02, max_gap_s=0.2)


def counted(stamps, receive=None, hz=50.0):
    """A record of messages with these stamps [ns], received at once unless said otherwise."""
    cadence = TopicCadence("camera", hz)
    for index, stamp in enumerate(stamps):
        cadence.push(stamp, stamp if receive is None else receive[index], 100)
    return cadence.record()


def steps(*numbers):
    return [SECOND + number * PERIOD for number in numbers]


def test_even_stamps_have_a_rate_and_no_gaps():
    record = counted(steps(*range(101)))
    assert (record.received, record.bytes) == (101, 10100)
    assert record.rate_hz == pytest.approx(50)
    assert record.worst_gap_s == pytest.approx(0.02)
    assert (record.gaps, record.missing, record.disordered, record.jumps) == (0, 0, 0, 0)
    assert record.loss == 0
    assert shortfall(record, LIMITS) == []


def test_gap_counts_what_it_stands_for():
    record = counted(steps(0, 1, 5, 6, 8))
    assert (record.gaps, record.missing) == (2, 4)
    assert record.worst_gap_s == pytest.approx(0.08)
    assert record.loss == pytest.approx(4 / 9)
    assert "4 missing in 2 gaps" in shortfall(record, LIMITS)[0]


@settings(max_examples=60, deadline=None)
@given(lost=st.sets(st.integers(1, 198), max_size=60), seed=st.integers(0, 2**31))
def test_every_lost_message_is_missing_once_whatever_the_jitter(lost, seed):
    jitter = np.random.default_rng(seed).integers(-PERIOD // 5, PERIOD // 5, 200)
    stamps = [SECOND + n * PERIOD + int(jitter[n]) for n in range(200) if n not in lost]
    record = counted(stamps)
    assert record.missing == len(lost)
    assert record.gaps == len([n for n in lost if n + 1 not in lost])
    assert record.disordered == 0


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(6)))
def test_late_messages_are_not_missing(order):
    numbers = [0, *(1 + n for n in order), 7, 8]
    record = counted(steps(*numbers))
    assert record.missing == 0
    newest, late = -1, 0
    for number in numbers:
        late += number < newest
        newest = max(newest, number)
    assert record.disordered == late
    assert record.rate_hz == pytest.approx(50)


def test_repeated_stamp_fills_no_gap():
    record = counted(steps(0, 1, 3, 3, 4))
    assert (record.missing, record.disordered) == (1, 1)


def test_thin_topic_is_short_without_a_single_gap():
    record = counted([SECOND + n * SECOND // 40 for n in range(200)])
    assert record.gaps == 0
    assert record.loss == pytest.approx(0.2, abs=0.002)
    assert "40 of 50 Hz" in shortfall(record, LIMITS)[0]


def test_long_gap_is_a_problem_even_where_little_is_lost():
    record = counted(steps(*range(2000), *range(2012, 4000)))
    assert record.loss < LIMITS.max_loss
    assert shortfall(record, LIMITS) == ["a gap of 0.26 s"]


def test_slow_topic_may_pause_for_its_own_period():
    record = counted([SECOND * n for n in range(10)], hz=1.0)
    assert shortfall(record, LIMITS) == []


@pytest.mark.parametrize("offset_s", [-3600, 3600, -2])
def test_clock_that_was_set_is_no_gap(offset_s):
    before = steps(*range(100))
    after = [stamp + offset_s * SECOND for stamp in steps(*range(100, 200))]
    record = counted(before + after, receive=steps(*range(200)))
    assert (record.gaps, record.missing, record.jumps) == (0, 0, 1)
    assert record.rate_hz == pytest.approx(50)
    assert record.worst_gap_s == pytest.approx(0.02)
    assert shortfall(record, LIMITS) == ["the clock of its stamps was set 1 time"]


def test_camera_that_was_away_is_a_gap_and_no_clock():
    numbers = [*range(100), *range(600, 700)]
    record = counted(steps(*numbers), receive=[stamp + 5 for stamp in steps(*numbers)])
    assert (record.gaps, record.missing, record.jumps) == (1, 500, 0)


def test_simulation_faster_than_time_has_its_own_rate():
    record = counted(steps(*range(300)), receive=[SECOND + n * PERIOD // 9 for n in range(300)])
    assert record.rate_hz == pytest.approx(50)
    assert record.jumps == 0


def test_losses_of_the_middleware_count():
    cadence = TopicCadence("camera", 50.0)
    for stamp in steps(*range(95)):
        cadence.push(stamp, stamp, 1)
    cadence.lost(2)
    cadence.lost(3)
    assert cadence.record().lost == 5
    assert cadence.record().loss == pytest.approx(0.05)


def test_topic_without_a_rate_only_has_to_come():
    record = counted(steps(0, 700, 710), hz=0.0)
    assert shortfall(record, LIMITS) == []
    assert shortfall(counted([], hz=0.0), LIMITS) == ["nothing arrived"]


def test_many_stamps_out_of_order_suggest_a_second_publisher():
    mine, other = steps(*range(50)), [stamp - 3 * PERIOD // 2 for stamp in steps(*range(50))]
    record = counted([stamp for pair in zip(mine, other, strict=True) for stamp in pair])
    assert any("second publisher" in text for text in shortfall(record, LIMITS))


def test_recent_rate_follows_a_topic_that_thins_out_and_stops():
    cadence = TopicCadence("camera", 50.0)
    now = SECOND
    for _ in range(250):
        now += PERIOD
        cadence.push(now, now, 10)
    assert cadence.recent(now)[0] == pytest.approx(50, rel=0.05)
    assert cadence.recent(now)[1] == pytest.approx(500, rel=0.05)
    for _ in range(30):
        now += 5 * PERIOD
        cadence.push(now, now, 10)
    assert cadence.recent(now)[0] == pytest.approx(10, rel=0.15)
    assert cadence.recent(now + 3 * SECOND) == (0.0, 0.0)


def test_recent_rate_survives_a_receive_clock_that_is_set_back():
    cadence = TopicCadence("camera", 50.0)
    for now in [*range(SECOND, 4 * SECOND, PERIOD), *range(SECOND // 2, 3 * SECOND, PERIOD)]:
        cadence.push(now, now, 10)
    assert cadence.recent(3 * SECOND)[0] == pytest.approx(50, rel=0.05)


def play(contract, skip=lambda topic, step: False, length=300, offsets=None):
    """An episode in lockstep; `skip` leaves messages out, `offsets` moves stamps [ns]."""
    cadence = EpisodeCadence(contract)
    for step in range(length):
        for topic in cadence.topics:
            now = SECOND + step * contract.period_ns
            if not skip(topic, step):
                cadence.push(topic, now + (offsets or {}).get(topic, 0), now, 10)
    return cadence


def problems(contract, **options):
    return describe_problems(play(contract, **options).records())


def test_good_episode_has_no_problems(camera_contract):
    cadence = play(camera_contract)
    assert describe_problems(cadence.records()) == ()
    assert (cadence.messages, cadence.bytes) == (1800, 18000)


CAMERA = "cameras/gripper/image_raw"


@pytest.mark.parametrize(
    ("skip", "says"),
    [
        (lambda step: step < 60, "it begins 2.00 s after the first topic"),
        (lambda step: step >= 270, "it ends 1.00 s before the last topic"),
        (lambda step: True, "nothing arrived"),
        (lambda step: step % 10 == 5, "30 missing in 30 gaps"),
        (lambda step: 100 <= step < 130, "a gap of 1.03 s"),
    ],
)
def test_camera_that_comes_late_dies_or_thins_out_is_named(camera_contract, skip, says):
    (found,) = problems(camera_contract, skip=lambda topic, step: topic == CAMERA and skip(step))
    assert found.startswith(f"{CAMERA}: ")
    assert says in found


def test_topic_in_another_clock_is_named_and_not_the_others(camera_contract):
    (found,) = problems(camera_contract, offsets={CAMERA: -(10**18)})
    assert found == f"{CAMERA}: its stamps are -1000000000 s off the others'"


def test_camera_with_latency_is_no_late_camera(camera_contract):
    """Episodes are cut at receive times, so slow topics begin and end with older stamps."""
    assert problems(camera_contract, offsets={CAMERA: -4 * 10**8}) == ()


def test_rate_comes_from_stream_contract_or_is_free(camera_contract):
    plain = camera_contract.model_dump()
    plain["observations"]["joint_states"]["rate_hz"] = 500.0
    plain["observations"]["scene_state"]["alignment"] = "hold"
    rates = expected_rates(type(camera_contract).model_validate(plain))
    assert rates["joint_states"] == 500
    assert rates["scene_state"] == 0
    assert rates[CAMERA] == rates["executed_action"] == 30


def test_contract_without_actions_expects_none(camera_contract):
    action = camera_contract.action.model_copy(update={"topic": ""})
    assert "" not in expected_rates(camera_contract.model_copy(update={"action": action}))
