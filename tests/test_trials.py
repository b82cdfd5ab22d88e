# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Blind trials: the order is fair and stays sealed, the log survives, the figures are right."""

from __future__ import annotations

import base64
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diwa.errors import ConfigError
from diwa.files import read_json, write_json
from diwa.train.statistics import paired_difference, wilson
from diwa.trials.log import TrialLog, read_log
from diwa.trials.plan import ARMS, draw_order, identify, require_unchanged
from diwa.trials.results import as_text, evaluate_series, write_results
from diwa.trials.series import LOG, PLAN, SEALED, Series, begin_series


@pytest.fixture
def candidates(tmp_path):
    found = {}
    for arm in ARMS:
        write_json(tmp_path / f"checkpoint_{arm}" / "checkpoint.json", {"weights": arm})
        found[arm] = identify(tmp_path / f"checkpoint_{arm}")
    return found


@pytest.fixture
def folder(tmp_path, candidates):
    folder = tmp_path / "trials"
    begin_series(folder, skill="open_drawer", pairs=6, first_seed=40, order_seed=2, **candidates)
    return folder


def run_all(series, outcome=lambda arm, trial: "success", stop_after=10**6):
    """Run trials as a robot would; returns what every arm really did."""
    done = {arm: {} for arm in ARMS}
    while (trial := series.next) is not None and stop_after > 0:
        series.begin(trial)
        result = outcome(series.arm_of(trial), trial)
        series.end(trial, result, judge="scene")
        done[series.arm_of(trial)][trial.pair] = result
        stop_after -= 1
    return done


@given(pairs=st.integers(1, 60), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_each_arm_goes_first_in_half_of_the_pairs(pairs, seed):
    order = draw_order(pairs, seed)
    assert len(order) == pairs
    assert abs(order.count("base") - order.count("adapted")) == pairs % 2
    assert order == draw_order(pairs, seed)


def test_order_is_drawn_anew_every_time():
    assert len({tuple(draw_order(40)) for _ in range(5)}) == 5


def test_both_arms_try_every_start_in_turn(folder):
    seen = []
    with Series(folder) as series:
        run_all(series, lambda arm, trial: seen.append((trial, arm)) or "success")
    assert [trial.number for trial, _ in seen] == list(range(1, 13))
    for pair in range(6):
        first, second = seen[2 * pair : 2 * pair + 2]
        assert first[0].seed == second[0].seed == 40 + pair
        assert {first[1], second[1]} == set(ARMS)


def test_nothing_outside_the_sealed_folder_tells_the_order(folder, candidates):
    """Whatever the order was, plan and log are the same but for its hash."""
    texts = set()
    for order_seed in range(4):
        other = folder.parent / f"other{order_seed}"
        begin_series(other, skill="open_drawer", pairs=6, order_seed=order_seed, **candidates)
        with Series(other) as series:
            run_all(series, lambda arm, trial: "success" if trial.pair % 2 else "failure")
        plan = read_json(other / PLAN)
        for changing in ("order_sha256", "created"):
            del plan[changing]
        log = [{**record, "at": ""} for record in read_log(other / LOG)]
        texts.add(json.dumps([plan, log]))
        assert {path.name for path in other.iterdir()} == {PLAN, LOG, SEALED}
    assert len(texts) == 1


def test_figures_are_those_of_the_pairs(folder):
    rng = random.Random(5)
    with Series(folder, "kim") as series:
        done = run_all(series, lambda arm, trial: rng.choice(["success", "failure"]))
        with pytest.raises(AssertionError):
            evaluate_series(series)
        series.reveal()
        results = write_results(series)
    base, adapted = ([done[arm][pair] == "success" for pair in range(6)] for arm in ARMS)
    assert results.figures.difference == paired_difference(base, adapted).value
    assert results.figures.base_interval[1] == pytest.approx(wilson(sum(base), 6).high)
    assert [(row.base, row.adapted) for row in results.pairs] == list(
        zip(base, adapted, strict=True)
    )
    assert results.first_went_well + results.second_went_well == sum(base) + sum(adapted)
    assert results.operators == ("kim",)
    text = as_text(results)
    assert "6 of 6 pairs" in text and "only 6 pairs" in text
    page = (folder / "report.html").read_text()
    assert f"{100 * results.figures.base:.1f} %" in page
    assert "http:" not in page and "https:" not in page
    assert read_json(folder / "results.json")["figures"]["episodes"] == 6


def test_series_goes_on_after_a_crash_at_any_byte(folder):
    with Series(folder) as series:
        run_all(series, stop_after=3)
    whole = (folder / LOG).read_bytes()
    with Series(folder) as series:
        expected = series.next
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for size in range(last, len(whole)):
        (folder / LOG).write_bytes(whole[:size])
        with Series(folder) as series:  # the outcome was not on the disk: that trial comes again
            assert series.next == expected._replace(pair=1, place=0, seed=41)
            assert (folder / LOG).read_bytes() == whole[:last]
    assert expected.number == 4


def test_damaged_log_is_named_with_its_line(folder):
    with Series(folder) as series:
        run_all(series, stop_after=3)
    lines = (folder / LOG).read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:9] + b"\n"
    (folder / LOG).write_bytes(b"".join(lines))
    with pytest.raises(ConfigError, match="line 2 is damaged"):
        Series(folder)


def test_two_processes_cannot_run_one_series(folder):
    with Series(folder), pytest.raises(ConfigError, match="another process"):
        Series(folder)
    TrialLog(folder / LOG).close()


def test_changed_order_is_refused(folder):
    path = folder / SEALED / "order"
    plain = json.loads(base64.b64decode(path.read_bytes()))
    plain["first"].reverse()
    path.write_bytes(base64.b64encode(json.dumps(plain).encode()))
    with pytest.raises(ConfigError, match="not the order"):
        Series(folder)
    path.unlink()
    with pytest.raises(ConfigError, match="missing"):
        Series(folder)


def test_changed_checkpoint_is_refused(folder):
    with Series(folder) as series:
        require_unchanged(series.plan)
        write_json(folder.parent / "checkpoint_base" / "checkpoint.json", {"weights": "new"})
        with pytest.raises(ConfigError, match="checkpoint_base"):
            require_unchanged(series.plan)


def test_void_trial_is_done_again_by_the_same_arm(folder):
    with Series(folder) as series:
        trial = series.next
        series.begin(trial)
        series.end(trial, "void", note="someone walked in")
        assert series.next == trial
        run_all(series)
        series.reveal()
        results = evaluate_series(series)
    assert sum(results.voids.values()) == 1
    assert results.voids[results.pairs[0].first] == 1


def test_correction_replaces_the_outcome_and_is_counted(folder):
    with Series(folder) as series:
        run_all(series, lambda arm, trial: "failure", stop_after=1)
        assert series.last.number == 1
        series.end(series.last, "success", correction=True)
        run_all(series, lambda arm, trial: "failure")
        series.reveal()
        results = evaluate_series(series)
    assert results.figures.base + results.figures.adapted == pytest.approx(1 / 6)
    assert results.corrections == 1


def test_revealed_series_is_closed(folder):
    with Series(folder) as series:
        run_all(series, stop_after=3)
        series.reveal()
        results = evaluate_series(series)
        with pytest.raises(ConfigError, match="revealed"):
            series.begin(series.next)
        with pytest.raises(ConfigError, match="revealed"):
            series.end(series.last, "success")
    assert (len(results.pairs), results.unpaired) == (1, 1)
    with Series(folder) as series:
        assert series.revealed


def test_revealing_without_a_pair_says_so(folder):
    with Series(folder) as series:
        series.reveal()
        assert "nothing to compare" in as_text(write_results(series))


def test_new_series_does_not_replace_an_old_one(folder, candidates):
    with pytest.raises(ConfigError, match="already"):
        begin_series(folder, skill="open_drawer", pairs=2, **candidates)
