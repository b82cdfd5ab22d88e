# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The report: right figures, nothing from outside, and whole with whatever a run left behind."""

from __future__ import annotations

import html.parser
import re
import shutil
import xml.etree.ElementTree
from pathlib import Path

import pytest

from diwa.errors import ConfigError
from diwa.files import read_json, write_json
from diwa.train.report import LARGEST_IMAGES, write_report
from diwa.train.run import Interrupted, Run, Stage, StageContext, run_stages
from synthetic_run import make_run

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(html.parser.HTMLParser):
    """Checks that tags nest, and collects what a page shows and refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert not self.open, f"left open: {self.open}"
        self.text = re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for key, value in attrs if key in ("src", "href", "srcset")]
        assert not [key for key, _ in attrs if key.startswith("on")], "scripted attribute"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.texts.append(data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), skills={"open_drawer": (37, 62)}).path


def page_of(run_path: Path) -> Page:
    return Page(write_report(run_path).read_text(encoding="utf-8"))


def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_report_states_the_figures_of_the_summary(finished: Path) -> None:
    page = page_of(finished)
    summary = read_json(finished / "summary.json")
    skill = summary["skills"]["open_drawer"]
    assert (skill["base"], skill["adapted"], skill["episodes"]) == (0.37, 0.62, 100)
    low, high = skill["difference_interval"]
    for text in (
        "Deploy",
        "37.0 %",
        "62.0 %",
        "+25.0",
        f"{100 * low:+.1f} to {100 * high:+.1f}",
        f"{100 * skill['base_interval'][0]:.1f} % to",
        "0 simulator steps were used in fine-tuning",
        "77.0 %",  # in the dream
        "The gate was passed",
    ):
        assert text in page.text, text


def test_report_loads_nothing_from_outside(finished: Path) -> None:
    text = write_report(finished).read_text(encoding="utf-8")
    page = Page(text)
    assert page.references
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_report_adapts_to_dark_screens_and_phones(finished: Path) -> None:
    text = write_report(finished).read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    assert '<meta name="viewport" content="width=device-width' in text
    assert "max-width: 640px" in text


def test_every_plot_is_well_formed_and_described(finished: Path) -> None:
    text = write_report(finished).read_text(encoding="utf-8")
    plots = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(plots) > 10
    for plot in plots:
        root = xml.etree.ElementTree.fromstring(plot)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert "nan" not in plot


def test_plots_have_tables_with_the_same_figures(finished: Path) -> None:
    page = page_of(finished)
    assert page.tags.count("figure") <= page.text.count("as a table")
    assert "1.2" in page.text  # predicting no change, 40 steps
    assert "0.16" in page.text


def test_report_shows_costs_data_seeds_and_configuration(finished: Path) -> None:
    page = page_of(finished)
    for text in ("world model", "together", "play minutes", "31.5", "evaluation", "iterations: 60"):
        assert text in page.text, text


def test_text_from_outside_is_escaped(finished: Path, tmp_path: Path) -> None:
    path = copied(finished, tmp_path)
    write_json(path / "config.json", {"name": "<script>alert(1)</script>", "note": "<b>x</b>"})
    summary = read_json(path / "summary.json")
    summary["name"] = "<script>alert(1)</script>"
    write_json(path / "summary.json", summary)
    text = write_report(path).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<b>x</b>" not in text


def test_film_strips_are_inside_the_file_with_their_captions(finished: Path) -> None:
    page = page_of(finished)
    assert page.tags.count("img") == 1
    assert "First row: the dream." in page.text


def test_strips_of_one_episode_stand_together(finished: Path, tmp_path: Path) -> None:
    path = copied(finished, tmp_path)
    strip = next((path / "stages").rglob("*.png"))
    for name in ("adapted-10", "adapted-2", "base-10", "base-2"):
        shutil.copy(strip, path / "stages" / "finetune" / f"{name}.png")
    strip.unlink()
    text = page_of(path).text
    places = [text.index(title) for title in ("Base 2", "Adapted 2", "Base 10", "Adapted 10")]
    assert places == sorted(places)


def test_too_many_film_strips_are_left_out_and_counted(finished: Path, tmp_path: Path) -> None:
    path = copied(finished, tmp_path)
    (path / "stages" / "finetune" / "huge.png").write_bytes(b"x" * (LARGEST_IMAGES + 1))
    page = page_of(path)
    assert "1 more are in the run folder" in page.text


def test_exploitation_of_the_model_is_called_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, skills={"open_drawer": (37, 45)}, dream_adapted=0.95)
    page = page_of(run.path)
    assert "the dream promises 50 points more than the simulator confirms" in page.text
    assert "Do not deploy" in page.text
    assert "may be chance" in page.text


def test_a_rehearsal_makes_no_claim(tmp_path: Path) -> None:
    run = make_run(tmp_path, skills={"open_drawer": (0, 4)}, episodes=4, claim=False)
    page = page_of(run.path)
    assert "No claim" in page.text
    assert "✓" not in page.text


@pytest.mark.parametrize("until", ["world_model", "policy", "gate"])
def test_a_run_that_is_not_finished_gets_a_report(tmp_path: Path, until: str) -> None:
    run = make_run(tmp_path, until=until)
    page = page_of(run.path)
    assert "Not finished" in page.text
    assert "How learning went" in page.text
    assert "Before and after" not in page.text


def test_a_cut_stage_is_shown_as_such(tmp_path: Path) -> None:
    def cut(context: StageContext) -> dict[str, float]:
        raise Interrupted

    with pytest.raises(Interrupted):
        run_stages(Run(tmp_path), [Stage("policy", "a", cut)])
    assert "policy (interrupted)" in page_of(tmp_path).text


def test_a_run_refused_at_the_gate_says_why(finished: Path, tmp_path: Path) -> None:
    path = copied(finished, tmp_path)
    (path / "summary.json").unlink()
    gate = path / "stages" / "gate" / "open_loop.json"
    write_json(gate, {**read_json(gate), "failed": ["error too large"], "passed": False})
    page = page_of(path)
    assert "Do not deploy" in page.text
    assert page.text.count("error too large") == 2


def test_a_summary_alone_is_enough(finished: Path, tmp_path: Path) -> None:
    shutil.copy(finished / "summary.json", tmp_path / "summary.json")
    page = page_of(tmp_path)
    assert "37.0 %" in page.text
    assert "How learning went" not in page.text


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to report"):
        write_report(tmp_path)
    write_json(tmp_path / "summary.json", {"format": "diwa-summary"})
    with pytest.raises(ConfigError, match=r"summary\.json"):
        write_report(tmp_path)
