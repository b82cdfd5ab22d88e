# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Film strips and videos show the frames that they claim to show, on one time axis."""

import sys

import av
import cv2
import numpy as np
import pytest

from bag_files import lockstep_bag
from diwa.data import film_plots
from diwa.data.build import build_dataset
from diwa.data.dataset import DatasetWriter
from diwa.data.film import GAP, TITLE, WIDTH, EpisodeFilm, film_frames, film_strip, write_strip
from diwa.data.film_plots import BANDS, LEFT, LINES, RIGHT, Axis, Curves
from diwa.data.film_source import episode_film, find_film
from diwa.data.film_video import write_video
from diwa.errors import ConfigError

LENGTH = 61
OPENED = 40  # the action with which the gripper begins to open


def flat_film(cameras=("static", "gripper"), length=LENGTH) -> EpisodeFilm:
    """Every frame has one colour, which counts up; the gripper opens once."""
    shade = np.arange(length, dtype=np.uint8) * 4
    images = np.broadcast_to(shade[:, None, None, None], (length, 16, 16, 3))
    action = np.zeros((length - 1, 7), np.float32)
    action[:, 6] = np.where(np.arange(length - 1) < OPENED, -1, 1)
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    return EpisodeFilm(
        title="demo_0001",
        labels="demo   open_drawer",
        rate_hz=30.0,
        images=dict.fromkeys(cameras, images),
        action=action,
        position=np.stack([ramp, ramp, ramp], axis=1),
        width=ramp,
    )


def columns_of(picture, colour):
    """Columns in which `colour` stands somewhere."""
    return np.flatnonzero((picture == colour).all(axis=-1).any(axis=0))


def test_strip_shows_first_to_last_frame_evenly():
    columns = 7
    strip = film_strip(flat_film(cameras=("static",)), columns)
    assert strip.shape[1] == WIDTH
    cell = (WIDTH - LEFT - RIGHT - (columns - 1) * GAP) // columns
    row = TITLE + 20 + cell // 2
    centres = [LEFT + cell // 2 + k * (cell + GAP) for k in range(columns)]
    np.testing.assert_array_equal(strip[row, centres, 0], np.linspace(0, 60, columns) * 4)


def test_curves_stand_below_the_frames_they_belong_to():
    """With 61 frames and 7 columns, the fifth picture is frame 40, where the gripper opens."""
    columns = 7
    strip = film_strip(flat_film(cameras=("static",)), columns)
    cell = (WIDTH - LEFT - RIGHT - (columns - 1) * GAP) // columns
    centre = LEFT + cell // 2 + 4 * (cell + GAP)
    closed, opened = BANDS
    band = next(
        y for y in range(TITLE + cell, len(strip)) if (strip[y] == closed).all(-1).sum() > 300
    )
    assert np.flatnonzero((strip[band + 2] == closed).all(-1))[-1] == pytest.approx(centre, abs=2)
    assert np.flatnonzero((strip[band + 2] == opened).all(-1))[0] == pytest.approx(centre, abs=2)


def test_two_cameras_are_two_rows():
    one, two = (len(film_strip(flat_film(c), 7)) for c in (("static",), ("static", "gripper")))
    assert two - one > 100


def test_episode_without_images_is_drawn():
    strip = film_strip(flat_film(cameras=()), 12)
    assert columns_of(strip, BANDS[1]).size


def test_short_episode_shows_each_frame_once():
    film = flat_film(cameras=("static",), length=3)
    cell = (WIDTH - LEFT - RIGHT - 2 * GAP) // 3
    strip = film_strip(film, 12)
    assert strip[TITLE + 20 + cell // 2, LEFT + cell // 2 + cell + GAP, 0] == 4


def test_curve_runs_from_lowest_to_highest_value():
    axis = Axis(start=100, end=300, last=10, rate_hz=10.0)
    values = np.linspace(-2, 2, 11)[:, None]
    row = film_plots.draw_curves(Curves("x", ("x",), values, None), 400, axis, np.arange(11))
    drawn = np.argwhere((np.abs(row.astype(int) - LINES[0]) < 40).all(axis=-1))
    assert drawn[:, 1].min() == pytest.approx(100, abs=2)
    assert drawn[:, 1].max() == pytest.approx(300, abs=2)
    low = drawn[drawn[:, 1] < 110, 0].mean()
    high = drawn[drawn[:, 1] > 290, 0].mean()
    assert low - high > 40  # rows count downwards


def test_labels_that_the_font_lacks_do_not_stop_it():
    canvas = np.full((40, 200, 3), 255, np.uint8)
    film_plots.draw_words(canvas, "Schublade öffnen 抽屉", (4, 20), (0, 0, 0), 0.5)
    assert (canvas < 128).any()


@pytest.mark.parametrize("without", [set(), {"libsvtav1"}])
def test_video_shows_every_frame_and_where_it_is(tmp_path, monkeypatch, without):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - without)
    film = flat_film()
    write_video(film, tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 30
    assert len(frames) == LENGTH
    middle = TITLE + 160
    shades = np.array([frame[middle, frame.shape[1] // 2 - 100, 0] for frame in frames], int)
    assert np.abs(shades - np.arange(LENGTH) * 4).max() <= 8


def test_cursor_moves_along_the_axis():
    pages = [page.copy() for page in film_frames(flat_film())]
    axis = Axis(LEFT, pages[0].shape[1] - RIGHT, LENGTH - 1, 30.0)
    for index in (0, 10, 30, 60):
        other = pages[index - 1] if index else pages[1]
        changed = (pages[index] != other).any(axis=-1)[TITLE + 320 :]
        columns = np.flatnonzero(changed.sum(axis=0) > 50)
        assert columns.min() <= axis.at(index) <= columns.max()
        assert columns.max() - columns.min() <= axis.at(1) - axis.at(0) + 2


@pytest.fixture
def dataset(tmp_path, camera_contract):
    bags = [lockstep_bag(tmp_path / "bags" / f"play_{i:04d}", camera_contract, 30) for i in (1, 2)]
    return build_dataset(bags, tmp_path / "data", workers=0)


def test_bag_is_shown_as_training_sees_it(dataset, tmp_path):
    film = find_film(tmp_path / "bags" / "play_0001")
    info = dataset.episodes[0]
    same = find_film(dataset.path / info.id)
    assert (film.title, film.labels) == (same.title, same.labels)
    np.testing.assert_array_equal(film.action, same.action)
    assert list(film.images) == list(dataset.contract.image_keys)
    for key, images in film.images.items():
        np.testing.assert_array_equal(images, same.images[key])
    write_strip(film, tmp_path / "film.png", 5)
    assert cv2.imread(str(tmp_path / "film.png")).shape[1] == WIDTH


def test_labels_are_those_of_the_episode(dataset):
    edited = dataset.with_edit("play_0001", task="open_drawer", outcome="failure", deleted=True)
    film = episode_film(edited, "play_0001")
    assert film.title.endswith("(deleted)")
    assert "open_drawer" in film.labels
    assert "outcome failure" in film.labels


def test_proprioception_without_position_is_no_obstacle(tmp_path, lowdim_contract):
    contract = lowdim_contract.model_copy(update={"proprio": ("arm_joints",)})
    writer = DatasetWriter(tmp_path / "data", contract)
    arrays = {
        "action": np.zeros((4, 7), np.float32),
        "proprio": np.zeros((5, 7), np.float32),
        "scene_state": np.zeros((5, 24), np.float32),
    }
    writer.add_episode("a", "play", "", "unknown", arrays)
    film = episode_film(writer.finish(), "a")
    assert film.position is None
    assert film.width is None
    assert film_strip(film, 4).shape[1] == WIDTH


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data", r"which episode(.|\n)*data/play_0001"),
        ("data/play_0009", r"no episode 'play_0009'(.|\n)*data/play_0001"),
        ("data/0002", r"no episode '0002'\n  expected: one of \S*play_0002$"),
        ("nothing/here", "no episode"),
    ],
)
def test_what_is_no_episode_is_said_with_those_there_are(dataset, path, message):
    with pytest.raises(ConfigError, match=message):
        find_film(dataset.path.parent / path)


def test_pictures_need_no_extra_package(dataset, tmp_path, monkeypatch):
    from diwa.cli import main

    monkeypatch.setitem(sys.modules, "av", None)
    for name in [n for n in sys.modules if n.startswith(("diwa.data.lerobot", "diwa.data.film_v"))]:
        monkeypatch.delitem(sys.modules, name)
    episode = str(dataset.path / "play_0001")
    assert main(["dataset", "show", episode, "--out", str(tmp_path / "film.png")]) == 0
    assert main(["dataset", "show", episode, "--out", str(tmp_path / "film.mp4")]) == 2
    assert main(["dataset", "show", episode, "--out", str(tmp_path / "film.gif")]) == 2
    assert not (tmp_path / "film.mp4").exists()
