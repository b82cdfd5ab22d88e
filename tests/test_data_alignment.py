# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Alignment by policy: against a plain search over all samples, and what always holds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diwa.data.alignment import MISSING, KeySamples, Sample
from diwa.data.contract import ActionSpec, Contract, Stream, Workspace
from diwa.data.frames import FrameBuilder

MS = 1_000_000
RATE = 30.0
PERIOD = 33_333_333
SLACK = PERIOD // 10


def contract_of(**streams) -> Contract:
    """Scene streams of one number each; keywords of `Stream` by key."""
    return Contract(
        name="scalar",
        rate_hz=RATE,
        observations={
            name: Stream(**{"kind": "scene", "topic": name, "type": "t", "size": 1, **options})
            for name, options in streams.items()
        },
        proprio=("gripper_action",),
        action=ActionSpec(),
        workspace=Workspace(minimum=(0, 0, 0), maximum=(1, 1, 1)),
    )


def key_samples(policy, tolerance_s=0.05, **options):
    contract = contract_of(a={"alignment": policy, "tolerance_s": tolerance_s, **options})
    return KeySamples(contract.observations["a"], contract)


def number(value):
    return np.array([value], dtype=np.float32)


def plain_choice(stamps, moment, policy, tolerance, used):
    """The definition of a policy, word for word; None: nothing fits."""
    near = [s for s in stamps if abs(s - moment) <= SLACK]
    if near:
        return near[0]
    before = [s for s in stamps if s < moment]
    if not before:
        return None
    last = before[-1]
    if policy == "hold":
        return last
    if moment - last > tolerance or (policy == "drop" and last == used):
        return None
    return last


@st.composite
def rising_stamps(draw, least=1):
    steps = draw(st.lists(st.integers(1, 80 * MS), min_size=least, max_size=30))
    return [200 * MS + stamp for stamp in itertools.accumulate(steps)]


POLICIES = ("asof", "hold", "drop")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(POLICIES), rising_stamps(), st.integers(1, 100))
def test_choice_is_the_policys_definition(policy, stamps, tolerance_ms):
    samples = key_samples(policy, tolerance_ms / 1e3)
    end = stamps[-1] + 10**9  # shows that nothing closer will come
    for stamp in [*stamps, end]:
        samples.add(Sample(stamp, number(0), None))
    used = None
    for moment in range(stamps[0], stamps[-1] + 3 * PERIOD, PERIOD):
        chosen = samples.pick(moment, end)
        expected = plain_choice(stamps, moment, policy, tolerance_ms * MS, used)
        assert chosen is not None
        if expected is None:
            assert chosen is MISSING
            continue
        assert chosen.stamp_ns == expected
        samples.use(chosen, moment)
        used = expected


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(("asof", "drop")), rising_stamps(least=2), st.data())
def test_choice_once_made_is_not_changed_by_later_samples(policy, stamps, data):
    moment = data.draw(st.integers(stamps[0], stamps[-1] + PERIOD))
    known = data.draw(st.integers(1, len(stamps)))
    early, late = key_samples(policy), key_samples(policy)
    for stamp in stamps[:known]:
        early.add(Sample(stamp, number(0), None))
    for stamp in [*stamps, stamps[-1] + 10**9]:
        late.add(Sample(stamp, number(0), None))
    first, final = early.pick(moment, 0), late.pick(moment, 0)
    assert first is None or first.stamp_ns == final.stamp_ns


def frames_of(contract, samples, **options):
    """Frames from (key, stamp, value[, epoch]) in this order, and their builder."""
    builder = FrameBuilder(contract, **options)
    frames = []
    for key, at, value, *epoch in samples:
        array = np.full(7, value, dtype=np.float32) if key == "action" else number(value)
        builder.push(key, at, array, *epoch)
        frames += builder.pop()
    return frames, builder


def stamp(step):
    return round(step * 1e9 / RATE)


def steps_of(key, steps, phase=0, lost=()):
    return [(key, stamp(step) + phase, step) for step in range(steps) if step not in lost]


def merged(*streams):
    """Samples in the order of their stamps; of equal ones, as given."""
    return sorted((sample for stream in streams for sample in stream), key=lambda s: s[1])


def values(frames, key):
    return [int(frame.observation[key][0]) for frame in frames]


def test_drop_makes_no_frame_of_a_picture_seen_before():
    streams = {"a": {}, "b": {"alignment": "drop", "tolerance_s": 1.0}}
    samples = merged(
        steps_of("action", 9), steps_of("a", 9), steps_of("b", 9, phase=-10 * MS, lost=(4,))
    )
    frames, builder = frames_of(contract_of(**streams), samples)
    assert values(frames, "b") == [0, 1, 2, 3, 5, 6, 7, 8]
    assert [f.cause for f in frames if f.is_first] == ["start", "no b in time"]
    counts = builder.alignment["b"]
    assert (counts.held, counts.missing, counts.used) == (0, 1, 8)


def test_asof_holds_for_as_long_as_the_tolerance():
    samples = merged(steps_of("action", 9), steps_of("a", 9), steps_of("b", 9, lost=(4, 6, 7)))
    frames, builder = frames_of(contract_of(a={}, b={"tolerance_s": 0.05}), samples)
    assert list(zip(values(frames, "a"), values(frames, "b"), strict=True)) == [
        *((n, n) for n in range(4)),
        (4, 3),
        (5, 5),
        (6, 5),
        (8, 8),
    ]
    counts = builder.alignment["b"]
    assert (counts.received, counts.held, counts.missing) == (6, 2, 1)
    assert counts.oldest_s == pytest.approx(1 / 30, abs=1e-6)


def test_hold_keeps_a_value_that_is_told_once():
    streams = {"a": {}, "b": {"alignment": "hold", "rate_hz": 0.001}}
    samples = [("b", stamp(0) - 5 * 10**9, 7), *merged(steps_of("action", 90), steps_of("a", 90))]
    frames, builder = frames_of(contract_of(**streams), samples)
    assert values(frames, "a") == list(range(90))
    assert set(values(frames, "b")) == {7}
    assert sum(frame.is_first for frame in frames) == 1
    assert builder.alignment["b"].held == 89


def test_hold_comes_without_waiting_between_the_samples_of_a_slow_topic():
    contract = contract_of(a={}, b={"alignment": "hold", "rate_hz": 2.0})
    builder = FrameBuilder(contract)
    for step in range(60):
        if step:
            builder.push("action", stamp(step - 1), np.zeros(7, dtype=np.float32))
        if step % 15 == 0:
            builder.push("b", stamp(step), number(step))
        builder.push("a", stamp(step), number(step))
        (frame,) = builder.pop()
        assert frame.observation["b"][0] == step - step % 15
    assert builder.alignment["b"].late == 0


def test_hold_waits_for_a_sample_that_is_due_but_not_for_ever():
    contract = contract_of(a={}, b={"alignment": "hold", "tolerance_s": 0.05})
    builder = FrameBuilder(contract)
    samples = merged(steps_of("action", 12), steps_of("a", 12), steps_of("b", 12))
    lost = [s for s in samples if not (s[0] == "b" and s[2] in (5, 6, 7))]
    arrivals = {}
    for key, at, value in lost:
        array = np.zeros(7, dtype=np.float32) if key == "action" else number(value)
        builder.push(key, at, array)
        for frame in builder.pop():
            arrivals[int(frame.observation["a"][0])] = (at, int(frame.observation["b"][0]))
    assert [arrivals[n][1] for n in range(11)] == [0, 1, 2, 3, 4, 4, 4, 4, 8, 9, 10]
    assert all(arrivals[n][0] == stamp(n) for n in (0, 1, 2, 3, 4, 8, 9, 10))
    assert arrivals[5][0] == stamp(7)  # 0.05 s later, by the other key's stamps


def test_sample_that_comes_after_its_frame_is_late_and_counts_from_the_next():
    contract = contract_of(a={}, b={"alignment": "hold", "rate_hz": 0.1})
    samples = [
        ("b", 0, 0),
        ("a", 0, 0),
        ("action", 0, 0),
        ("a", stamp(1), 1),
        ("b", stamp(1), 1),
        ("action", stamp(1), 1),
        ("a", stamp(2), 2),
    ]
    frames, builder = frames_of(contract, samples)
    assert values(frames, "b") == [0, 0, 1]
    assert builder.alignment["b"].late == 1


@pytest.mark.parametrize(("epoch", "after"), [(None, [9, 9]), (1, [])])
def test_held_value_outlives_a_reset_unless_it_is_of_the_old_epoch(epoch, after):
    contract = contract_of(a={}, b={"alignment": "hold", "rate_hz": 0.001})
    before = [("b", 0, 9, epoch), ("a", 0, 0, 1), ("action", 0, 0), ("a", stamp(1), 1, 1)]
    later = [("a", stamp(3), 3, 2), ("action", stamp(3), 3), ("a", stamp(4), 4, 2)]
    frames, _ = frames_of(contract, before + later)
    assert values(frames[2:], "b") == after


def test_first_frame_mixes_no_epochs():
    contract = contract_of(a={}, b={"tolerance_s": 0.1})
    before = [("a", 0, 0, 1), ("b", 0, 0, 1)]
    # An action is lost, so that the reset at step 2 is only seen where a segment starts.
    lost = [("b", stamp(2) - 5 * MS, 2, 1), ("a", stamp(2), 2, 2), ("action", stamp(2), 2)]
    after = [("b", stamp(3), 3, 2), ("a", stamp(3), 3, 2)]
    frames, _ = frames_of(contract, before + lost + after)
    assert [(values([f], "a"), values([f], "b"), f.epoch) for f in frames] == [
        ([0], [0], 1),
        ([3], [3], 2),
    ]


def test_causes_say_why_segments_start():
    contract = contract_of(a={}, b={"tolerance_s": 0.01})
    first = merged(steps_of("action", 12), steps_of("a", 12), steps_of("b", 12, lost=(4,)))
    lost_action = [s for s in first if not (s[0] == "action" and s[2] == 7)]
    frames, _ = frames_of(contract, lost_action)
    assert [f.cause for f in frames if f.is_first] == ["start", "no b in time", "no action in time"]
    assert all(f.cause == "" for f in frames if not f.is_first)
    early = [(k, 10**12 + at, v) for k, at, v in first[:9]]
    frames, _ = frames_of(contract, early + first)
    assert "the clock was set back" in [f.cause for f in frames]
    epochs = merged(
        steps_of("action", 6), [(k, stamp(n), n, n // 3) for n in range(6) for k in "ab"]
    )
    frames, _ = frames_of(contract, epochs)
    assert [f.cause for f in frames] == ["start", "", "", "reset", "", ""]
    dead = merged(
        steps_of("action", 100), steps_of("a", 100), steps_of("b", 100, lost=range(9, 95))
    )
    frames, _ = frames_of(contract, dead, patience_s=1.0)
    assert [f.cause for f in frames if f.is_first] == ["start", "b fell behind"]


@st.composite
def recordings(draw):
    """Streams a and b and actions with phases, losses and delays of arrival."""
    steps = draw(st.integers(4, 30))
    policy = draw(st.sampled_from(POLICIES))
    tolerance = draw(st.sampled_from([0.01, 0.05, 0.12]))
    streams = {}
    for key in ("a", "b", "action"):
        phase = draw(st.sampled_from([0, 0, -11 * MS, 2 * MS, 12 * MS]))
        lost = draw(st.sets(st.integers(0, steps - 1), max_size=5))
        streams[key] = steps_of(key, steps, phase, lost)
    contract = contract_of(a={}, b={"alignment": policy, "tolerance_s": tolerance})
    return contract, streams


@settings(max_examples=200, deadline=None)
@given(recordings())
def test_every_action_belongs_to_the_frame_that_it_followed(recording):
    contract, streams = recording
    frames, _ = frames_of(contract, merged(*streams.values()))
    began = {step: at for _, at, step in streams["action"]}
    for before, after in itertools.pairwise(frames):
        if after.is_first:
            assert after.previous_action.tolist() == list(contract.action.neutral)
            continue
        at = began[round(float(after.previous_action[0]))]
        assert abs(after.stamp_ns - before.stamp_ns - PERIOD) <= 2 * SLACK + 2
        assert abs(at - before.stamp_ns) <= PERIOD // 2 + SLACK + 2
    used = [float(f.previous_action[0]) for f in frames if not f.is_first]
    assert len(used) == len(set(used))


@settings(max_examples=200, deadline=None)
@given(recordings())
def test_policies_keep_their_promise_in_every_frame(recording):
    contract, streams = recording
    stream = contract.observations["b"]
    frames, builder = frames_of(contract, merged(*streams.values()))
    stamps = {step: at for _, at, step in streams["b"]}
    for before, after in itertools.pairwise([None, *frames]):
        value = int(after.observation["b"][0])
        age = after.stamp_ns - stamps[value]
        assert age >= -SLACK
        newer = [at for at in stamps.values() if stamps[value] < at <= after.stamp_ns - 2 * SLACK]
        assert not newer
        if stream.alignment != "hold":
            assert age <= stream.tolerance_s * 1e9 + SLACK
        if stream.alignment == "drop" and before is not None:
            assert value != int(before.observation["b"][0])
    counts = builder.alignment["b"]
    assert counts.used == len(frames)
    assert counts.received == len(streams["b"])
    assert counts.held == sum(
        x.observation["b"][0] == y.observation["b"][0] for x, y in itertools.pairwise(frames)
    )
    if stream.alignment == "hold":
        assert counts.missing == 0


@settings(max_examples=100, deadline=None)
@given(recordings(), st.randoms(use_true_random=False))
def test_frames_do_not_depend_on_the_order_between_keys(recording, random):
    contract, streams = recording
    if contract.observations["b"].alignment == "hold":
        return  # what arrives after its frame is late
    orders = [merged(*streams.values()), [s for stream in streams.values() for s in stream]]
    queues = {key: list(samples) for key, samples in streams.items() if samples}
    shuffled = []
    while queues:
        key = random.choice(sorted(queues))
        shuffled.append(queues[key].pop(0))
        queues = {key: samples for key, samples in queues.items() if samples}
    results = [
        [(f.stamp_ns, values([f], "a"), values([f], "b"), f.is_first, f.cause) for f in frames]
        for frames, _ in (frames_of(contract, order) for order in [*orders, shuffled])
    ]
    assert results[0] == results[1] == results[2]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(4, 30),
    st.sampled_from([0, -11 * MS, 2 * MS, 12 * MS]),
    st.sets(st.integers(0, 29), max_size=6),
    st.sampled_from([0, 10 * MS, 40 * MS, 80 * MS]),
)
def test_hold_gives_the_same_frames_while_nothing_lags_by_the_tolerance(steps, phase, lost, delay):
    contract = contract_of(a={}, b={"alignment": "hold", "tolerance_s": 0.12})
    others = steps_of("a", steps) + steps_of("action", steps)
    held = steps_of("b", steps, phase, lost)
    results = []
    for lag in (0, delay):
        arrivals = [(at, sample) for sample in others for at in [sample[1]]]
        arrivals += [(sample[1] + lag, sample) for sample in held]
        ordered = [sample for _, sample in sorted(arrivals, key=lambda pair: pair[0])]
        # Time goes on for the others, so that the last frames come out as well.
        ending = [("a", stamp(steps + n), steps + n) for n in range(8)]
        frames, builder = frames_of(contract, ordered + ending)
        results.append([(f.stamp_ns, values([f], "a"), values([f], "b"), f.cause) for f in frames])
        assert builder.alignment["b"].late == 0
    assert results[0] == results[1]
