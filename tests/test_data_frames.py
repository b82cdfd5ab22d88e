# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from diwa.data.contract import ActionSpec, Contract, Stream, Workspace
from diwa.data.frames import FrameBuilder, compose_observation, compose_proprio
from diwa.errors import ConfigError
from robot_messages import LockstepRobot, step_stamp

MS = 1_000_000
PERIOD = 33_333_333


def scalar_contract(tolerance_s=0.05, **streams) -> Contract:
    """Two scene streams of one number each: every value can be traced."""
    observations = {
        name: Stream(kind="scene", topic=name, type="t", size=1, tolerance_s=tolerance_s)
        for name in streams or ("a", "b")
    }
    return Contract(
        name="scalar",
        rate_hz=30.0,
        observations=observations,
        proprio=("gripper_action",),
        action=ActionSpec(),
        workspace=Workspace(minimum=(0, 0, 0), maximum=(1, 1, 1)),
    )


def number(value: float) -> np.ndarray:
    return np.array([value], dtype=np.float32)


def action(value: float) -> np.ndarray:
    return np.full(7, value, dtype=np.float32)


def build(contract, samples, **options):
    """Frames from (key, stamp, value or None[, epoch]) in this order."""
    builder = FrameBuilder(contract, **options)
    return [frame for sample in samples for frame in push(builder, sample)]


def push(builder, sample):
    key, at, value, *epoch = sample
    builder.push(key, at, action(value) if key == "action" else number(value), *epoch)
    return builder.pop()


def summary(frames):
    return [
        (
            frame.stamp_ns,
            {key: value.tolist() for key, value in frame.observation.items()},
            frame.previous_action.tolist(),
            frame.is_first,
            frame.epoch,
        )
        for frame in frames
    ]


def lockstep(steps, keys=("a", "b"), epoch=None, first=0):
    """Samples as a lockstep simulation sends them; the value is the step."""
    for step in range(first, first + steps):
        if step > first:
            yield "action", round((step - 1) * 1e9 / 30), (step - 1) / 100
        for key in keys:
            yield key, round(step * 1e9 / 30), step, epoch


def test_frame_comes_with_the_last_sample_that_it_needs():
    builder = FrameBuilder(scalar_contract())
    for step in range(200):
        stamp = round(step * 1e9 / 30)
        if step:
            builder.push("action", round((step - 1) * 1e9 / 30), action(step - 1))
        builder.push("a", stamp, number(step))
        assert builder.pop() == []
        builder.push("b", stamp, number(step))
        (frame,) = builder.pop()
        assert frame.stamp_ns == stamp
        assert frame.is_first == (step == 0)
        assert frame.observation["a"] == frame.observation["b"] == step
        expected = builder.contract.action.neutral if step == 0 else [step - 1] * 7
        assert frame.previous_action.tolist() == list(expected)


def test_frame_waits_for_the_action_that_led_to_it():
    builder = FrameBuilder(scalar_contract(a=1))
    builder.push("a", 0, number(0))
    builder.push("a", PERIOD, number(1))
    assert [frame.stamp_ns for frame in builder.pop()] == [0]
    builder.push("action", 0, action(0.5))
    (frame,) = builder.pop()
    assert (frame.stamp_ns, frame.is_first, frame.previous_action[0]) == (PERIOD, False, 0.5)


def test_long_recordings_do_not_drift():
    start = 12_345_678_901
    samples = [(k, start + s, v, *e) for k, s, v, *e in lockstep(20_000, keys=("a",))]
    frames = build(scalar_contract(a=1), samples)
    assert len(frames) == 20_000
    assert sum(frame.is_first for frame in frames) == 1
    assert [frame.observation["a"][0] for frame in frames] == list(range(20_000))


@st.composite
def recordings(draw):
    """Per-key samples of two streams with their own phase, jitter, losses, and epochs."""
    period = 1e9 / 30
    steps = draw(st.integers(3, 25))
    samples = {}
    for key in ("a", "b", "action"):
        phase = draw(st.sampled_from([0, 0, 1 * MS, 12 * MS]))
        jitter = draw(st.sampled_from([0, 1, 2 * MS]))
        lost = draw(st.sets(st.integers(0, steps - 1), max_size=4))
        reset = draw(st.integers(0, 2 * steps)) if key == "b" else steps
        samples[key] = [
            (
                key,
                round(step * period) + phase + (step * 7919 % (2 * jitter + 1)) - jitter,
                step,
                *([int(step >= reset)] if key == "b" else []),
            )
            for step in range(steps)
            if step not in lost
        ]
    return samples


@settings(max_examples=150, deadline=None)
@given(recordings(), st.randoms(use_true_random=False))
def test_frames_do_not_depend_on_the_order_between_keys(samples, random):
    contract = scalar_contract()
    orders = [samples["a"] + samples["b"] + samples["action"]]
    orders.append(samples["action"] + samples["b"] + samples["a"])
    orders.append(sorted((s for key in samples.values() for s in key), key=lambda s: s[1]))
    queues = {key: list(values) for key, values in samples.items() if values}
    shuffled = []
    while queues:
        key = random.choice(sorted(queues))
        shuffled.append(queues[key].pop(0))
        if not queues[key]:
            del queues[key]
    orders.append(shuffled)
    results = [summary(build(contract, order)) for order in orders]
    assert all(result == results[0] for result in results)


@settings(max_examples=100, deadline=None)
@given(recordings())
def test_neighbouring_frames_are_one_period_and_one_known_action_apart(samples):
    merged = sorted((s for key in samples.values() for s in key), key=lambda s: s[1])
    frames = build(scalar_contract(), merged)
    sent = {s[2] for s in samples["action"]}
    assert [f.stamp_ns for f in frames] == sorted({f.stamp_ns for f in frames})
    for before, after in itertools.pairwise(frames):
        if after.is_first:
            continue
        assert abs(after.stamp_ns - before.stamp_ns - PERIOD) <= PERIOD // 5 + 2
        assert after.previous_action[0] in sent
        assert after.epoch == before.epoch
    for frame in frames:
        for key in ("a", "b"):
            (sample,) = (s for s in samples[key] if s[2] == frame.observation[key][0])
            assert frame.stamp_ns - sample[1] <= 50 * MS + PERIOD // 10
            assert sample[1] - frame.stamp_ns <= PERIOD // 10


def without(samples, *lost):
    return [sample for sample in samples if (sample[0], sample[1]) not in lost]


def stamp(step):
    return round(step * 1e9 / 30)


def test_a_lost_observation_within_the_tolerance_is_held():
    frames = build(scalar_contract(), without(lockstep(6), ("b", stamp(3))))
    assert [f.observation["b"][0] for f in frames] == [0, 1, 2, 2, 4, 5]
    assert [f.observation["a"][0] for f in frames] == [0, 1, 2, 3, 4, 5]
    assert [f.is_first for f in frames] == [True] + 5 * [False]


def test_a_gap_longer_than_the_tolerance_starts_a_segment():
    lost = [("b", stamp(3)), ("b", stamp(4))]
    frames = build(scalar_contract(), without(lockstep(8), *lost))
    assert [f.observation["a"][0] for f in frames] == [0, 1, 2, 3, 5, 6, 7]
    assert [f.is_first for f in frames] == [True, False, False, False, True, False, False]
    assert frames[4].previous_action.tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert frames[5].previous_action[0] == np.float32(0.05)


def test_a_lost_action_starts_a_segment():
    frames = build(scalar_contract(), without(lockstep(6), ("action", stamp(2))))
    assert [f.observation["a"][0] for f in frames] == [0, 1, 2, 3, 4, 5]
    assert [f.is_first for f in frames] == [True, False, False, True, False, False]


def test_a_lost_control_step_starts_a_segment():
    lost = [("a", stamp(3)), ("b", stamp(3)), ("action", stamp(3)), ("action", stamp(2))]
    frames = build(scalar_contract(), without(lockstep(6), *lost))
    assert [f.observation["a"][0] for f in frames if f.is_first] == [0, 4]


def test_samples_older_than_the_tolerance_never_start_a_segment():
    samples = [("a", 0, 0), ("b", stamp(30), 30), ("a", stamp(30), 30), ("a", stamp(31), 31)]
    frames = build(scalar_contract(), samples)
    assert [(f.observation["a"][0], f.stamp_ns) for f in frames] == [(30, stamp(30))]


def test_duplicates_and_late_samples_are_dropped_and_counted():
    contract = scalar_contract()
    clean = list(lockstep(10))
    doubled = [s for sample in clean for s in (sample, sample)]
    late = [*clean[:20], ("a", stamp(1), 99), *clean[20:]]
    assert summary(build(contract, doubled)) == summary(build(contract, clean))
    assert summary(build(contract, late)) == summary(build(contract, clean))
    builder = FrameBuilder(contract)
    for sample in doubled:
        push(builder, sample)
    assert builder.dropped == len(clean)


def test_reset_starts_a_segment_without_waiting_for_an_action():
    contract = scalar_contract()
    before = list(lockstep(5, epoch=1))
    after = list(lockstep(5, epoch=2, first=5))
    builder = FrameBuilder(contract)
    frames = [frame for sample in before + after[:2] for frame in push(builder, sample)]
    assert [f.is_first for f in frames] == [True, False, False, False, False, True]
    assert [f.epoch for f in frames] == [1, 1, 1, 1, 1, 2]
    rest = build(contract, before + after)
    assert [f.observation["a"][0] for f in rest] == list(range(10))
    assert [f.is_first for f in rest[6:]] == 4 * [False]


def test_nothing_from_before_a_reset_is_used_after_it():
    samples = without(lockstep(5, epoch=1), ("b", stamp(4)))
    after = without(lockstep(4, epoch=2, first=5), ("a", stamp(5)))
    frames = build(scalar_contract(), samples + after)
    firsts = [f for f in frames if f.is_first]
    assert [(f.observation["a"][0], f.observation["b"][0]) for f in firsts] == [(0, 0), (6, 6)]


def test_recording_may_begin_in_the_middle_of_a_step():
    frames = build(scalar_contract(), list(lockstep(6))[4:])
    assert [f.observation["b"][0] for f in frames] == [2, 3, 4, 5]
    assert frames[0].is_first


def test_streams_with_their_own_phase_and_rate_are_taken_as_of_the_grid():
    samples = [("a", step * PERIOD, step) for step in range(30)]
    samples += [("b", ms * MS, ms) for ms in range(1000)]
    samples += [("action", step * PERIOD + 9 * MS, step) for step in range(30)]
    frames = build(scalar_contract(), sorted(samples, key=lambda s: s[1]))
    assert len(frames) == 30
    for frame in frames:
        age = frame.stamp_ns - frame.observation["b"][0] * MS
        assert 0 <= age <= PERIOD // 10 + MS
        assert frame.is_first or frame.previous_action[0] == frame.observation["a"][0] - 1


def test_waiting_is_bounded_when_a_stream_dies():
    contract = scalar_contract()
    builder = FrameBuilder(contract, patience_s=1.0)
    for sample in lockstep(1000, keys=("a",)):
        assert push(builder, sample) == []
    assert max(len(samples.queue) for samples in builder._keys.values()) <= 32
    frames = [f for sample in lockstep(40, first=1000) for f in push(builder, sample)]
    assert [f.observation["b"][0] for f in frames][-30:] == list(range(1010, 1040))


def test_a_clock_that_is_set_back_starts_over():
    start = 1000 * 10**9
    early = [(k, start + s, v, *e) for k, s, v, *e in lockstep(5)]
    frames = build(scalar_contract(), early + list(lockstep(5)))
    assert [f.is_first for f in frames] == 2 * [True, False, False, False, False]


def test_reset_forgets_everything():
    builder = FrameBuilder(scalar_contract())
    for sample in lockstep(3):
        push(builder, sample)
    builder.push("a", stamp(3), number(3))
    builder.reset()
    assert builder.pop() == []
    frames = [frame for sample in lockstep(2) for frame in push(builder, sample)]
    assert [f.is_first for f in frames] == [True, False]


def test_messages_give_the_frames_of_their_arrays(camera_contract):
    robot = LockstepRobot(camera_contract)
    builder = FrameBuilder(camera_contract)
    for key, message in robot.run(4):
        builder.push_message(key, message)
    frames = builder.pop()
    assert [f.stamp_ns for f in frames] == [step_stamp(camera_contract, i) for i in range(4)]
    assert {k: v.shape for k, v in frames[0].observation.items()} == {
        "proprio": (18,),
        "scene_state": (24,),
        "rgb_static": (64, 64, 3),
        "rgb_gripper": (64, 64, 3),
    }
    assert frames[3].observation["proprio"][17] == frames[3].previous_action[6]


def test_proprio_is_composed_by_the_contract(lowdim_contract):
    rng = np.random.default_rng(1)
    rotation = Rotation.random(random_state=2)
    pose = np.concatenate([rng.normal(size=3), 3.0 * rotation.as_quat()])
    joints = rng.normal(size=9)
    proprio = compose_proprio(lowdim_contract, pose, joints, -1.0)
    matrix = rotation.as_matrix()
    assert proprio.dtype == np.float32
    np.testing.assert_allclose(proprio[:3], pose[:3], rtol=1e-6)
    np.testing.assert_allclose(proprio[3:6], matrix[:, 0], atol=1e-6)
    np.testing.assert_allclose(proprio[6:9], matrix[:, 1], atol=1e-6)
    np.testing.assert_allclose(proprio[9], joints[7] + joints[8], rtol=1e-6)
    np.testing.assert_allclose(proprio[10:17], joints[:7], rtol=1e-6)
    assert proprio[17] == -1.0
    flipped = np.concatenate([pose[:3], -pose[3:]])
    np.testing.assert_array_equal(proprio, compose_proprio(lowdim_contract, flipped, joints, -1.0))


def test_images_are_averaged_over_areas(camera_contract):
    robot = LockstepRobot(camera_contract)
    raw = {"ee_pose": np.array([0, 0, 0, 0, 0, 0, 1.0]), "joint_states": np.zeros(9)}
    raw["scene_state"] = np.zeros(24)
    raw["rgb_gripper"] = robot.rng.integers(0, 256, (84, 84, 3), dtype=np.uint8)
    blocks = robot.rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    raw["rgb_static"] = blocks.repeat(2, axis=0).repeat(2, axis=1)
    observation = compose_observation(camera_contract, raw, np.zeros(7, np.float32))
    np.testing.assert_array_equal(observation["rgb_static"], blocks)
    assert observation["rgb_gripper"].shape == (64, 64, 3)
    mean = raw["rgb_gripper"].mean(axis=(0, 1))
    np.testing.assert_allclose(observation["rgb_gripper"].mean(axis=(0, 1)), mean, atol=1.0)


@pytest.mark.parametrize("proprio", [("position",), ("arm_joints",)])
def test_contract_without_the_streams_of_its_proprio_is_refused(proprio):
    with pytest.raises(ValueError, match="proprio needs one"):
        Contract.model_validate({**scalar_contract().model_dump(), "proprio": proprio})


def test_serving_needs_a_topic_of_executed_actions(lowdim_contract):
    assert lowdim_contract.require_action_topic("the bridge") == "executed_action"
    action = lowdim_contract.action.model_copy(update={"topic": ""})
    silent = lowdim_contract.model_copy(update={"action": action})
    with pytest.raises(ConfigError, match=r"action.topic is empty[^$]*the bridge needs them"):
        silent.require_action_topic("the bridge")


def test_epoch_comes_with_the_actions_where_no_observation_carries_one():
    samples = [
        (key, round(step * 1e9 / 30), float(step), 4 if key == "action" else None)
        for step in range(4)
        for key in ("a", "b", "action")
    ]
    frames = build(scalar_contract(), samples)
    assert [frame.epoch for frame in frames] == [None, 4, 4, 4]


def test_epoch_is_known_at_once_after_a_break():
    """Else whoever runs a skill takes every break for a reset."""
    samples = [
        (key, round(step * 1e9 / 30), float(step), 4 if key == "action" else None)
        for step in range(9)
        for key in ("a", "b", "action")
        if (step, key) != (4, "action")
    ]
    frames = build(scalar_contract(), samples)
    after = [frame for frame in frames if frame.stamp_ns > stamp(4)]
    assert after[0].is_first
    assert {frame.epoch for frame in after} == {4}
