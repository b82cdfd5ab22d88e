# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3: what goes out comes back, and other tools find nothing wrong with it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diwa.data.dataset import Dataset, DatasetWriter
from diwa.data.lerobot_export import export_lerobot
from diwa.data.lerobot_import import import_lerobot, task_name
from diwa.data.lerobot_layout import FileNumber
from diwa.data.lerobot_loss import peak_ratios
from diwa.data.lerobot_video import ENCODINGS, VideoWriter, rate_fraction, read_frames
from diwa.errors import ConfigError
from play_data import EPISODES, write_play

LABELS = ("id", "kind", "task", "outcome", "source", "length")
NUMBERS = ("stamp_ns", "action", "proprio", "scene_state")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, camera_contract) -> Dataset:
    return write_play(tmp_path_factory.mktemp("play") / "data", camera_contract)


@pytest.fixture(scope="module", params=list(ENCODINGS))
def exported(request, dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param) / "lerobot"
    return out, export_lerobot(dataset, out, codec=request.param)


@pytest.fixture(scope="module")
def sound(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("sound") / "lerobot"
    export_lerobot(dataset, out)
    return out


@pytest.fixture
def folder(sound, tmp_path):
    """An export to be changed."""
    return shutil.copytree(sound, tmp_path / "lerobot")


def labels(dataset):
    return [tuple(getattr(info, name) for name in LABELS) for info in dataset.episodes]


def forget_labels(folder: Path) -> None:
    """Make an export look like the work of others."""
    (folder / "meta/diwa.json").unlink()
    path = next((folder / "meta/episodes").rglob("*.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.select([n for n in table.column_names if "diwa/" not in n]), path)


def test_what_goes_out_comes_back(dataset, exported, tmp_path):
    out, result = exported
    back = import_lerobot(out, tmp_path / "back")
    assert back.contract == dataset.contract
    assert labels(back) == labels(dataset)
    for info in dataset.episodes:
        for key in NUMBERS:
            np.testing.assert_array_equal(back.array(info.id, key), dataset.array(info.id, key))
    for key in dataset.contract.image_keys:
        ratios = np.concatenate(
            [
                peak_ratios(dataset.array(info.id, key), back.array(info.id, key))
                for info in dataset.episodes
            ]
        )
        loss = result.images[key]
        if loss.mean_psnr_db is None:
            assert np.isinf(ratios).all()
        else:
            assert ratios.mean() >= loss.mean_psnr_db > 30
            assert ratios.min() == pytest.approx(loss.worst_psnr_db)


def test_no_image_becomes_the_one_before(dataset, exported, tmp_path):
    back = import_lerobot(exported[0], tmp_path / "back")
    for info in dataset.episodes:
        for key in dataset.contract.image_keys:
            before, after = (
                [(a != b).any() for a, b in zip(x[1:], x[:-1], strict=True)]
                for x in (dataset.array(info.id, key), back.array(info.id, key))
            )
            assert sum(after) >= sum(before)


def test_lossless_export_is_the_same_dataset(dataset, tmp_path):
    export_lerobot(dataset, tmp_path / "out", codec="lossless")
    assert import_lerobot(tmp_path / "out", tmp_path / "back").hash == dataset.hash


def test_lerobot_doctor_finds_no_failure(exported):
    from lerobot_doctor.dataset_loader import load_dataset
    from lerobot_doctor.runner import Severity, run_checks

    report = run_checks(load_dataset(str(exported[0])))
    assert len(report.results) >= 11
    found = {result.name: result for result in report.results}
    for result in report.results:
        failures = [m.message for m in result.messages if m.severity is Severity.FAIL]
        assert not failures, result.name
    for name in ("Metadata & Format Compliance", "Temporal Consistency", "Video Integrity"):
        assert found[name].severity is Severity.PASS, [m.message for m in found[name].messages]
    for name in ("Feature Consistency", "Portability"):
        assert found[name].severity is Severity.PASS, [m.message for m in found[name].messages]


def test_lerobot_doctor_reads_what_is_there(exported):
    from lerobot_doctor.dataset_loader import load_dataset

    loaded = load_dataset(str(exported[0]))
    assert [episode.length for episode in loaded.episodes_data] == [e[4] for e in sorted(EPISODES)]
    assert {task["task"] for task in loaded.tasks} == {"play", "open drawer", "turn on led"}


def test_layout_is_lerobots(dataset, exported):
    out, _ = exported
    info = json.loads((out / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert info["fps"] == 30
    assert (info["total_episodes"], info["total_frames"]) == (4, 174)
    assert set(info["features"]) == {
        *("observation.state", "observation.environment_state", "action", "stamp_ns"),
        *("observation.images.rgb_static", "observation.images.rgb_gripper"),
        *("timestamp", "frame_index", "episode_index", "index", "task_index"),
        *("next.done", "next.success"),
    }
    table = pq.read_table(out / "data/chunk-000/file-000.parquet")
    assert set(table.column_names) == {n for n, f in info["features"].items() if "fps" not in f} - {
        "observation.images.rgb_static",
        "observation.images.rgb_gripper",
    }
    assert table["index"].to_pylist() == list(range(174))
    schema = table.schema
    for name in ("observation.state", "action"):
        size = info["features"][name]["shape"][0]
        assert schema.field(name).type == pa.list_(pa.float32(), size)
        assert len(info["features"][name]["names"]) == size
    assert schema.field("timestamp").type == pa.float32()
    rows = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    for row in rows:
        assert row["dataset_to_index"] - row["dataset_from_index"] == row["length"]
        part = table.slice(row["dataset_from_index"], row["length"])
        assert set(part["episode_index"].to_pylist()) == {row["episode_index"]}
        np.testing.assert_allclose(part["timestamp"], np.arange(row["length"]) / 30, atol=1e-6)
        assert part["next.done"].to_pylist() == [False] * (row["length"] - 1) + [True]
        success = row["diwa/outcome"] == "success"
        assert part["next.success"].to_pylist()[-1] is success
        seconds = [
            row[f"videos/observation.images.rgb_static/{end}_timestamp"] for end in ("from", "to")
        ]
        assert (seconds[1] - seconds[0]) * 30 == pytest.approx(row["length"])


def test_tasks_are_the_index_that_pandas_stores(exported):
    schema = pq.read_schema(exported[0] / "meta/tasks.parquet")
    described = json.loads(schema.metadata[b"pandas"])
    assert described["index_columns"] == ["task"]
    assert [column["name"] for column in described["columns"]] == schema.names


def test_statistics_are_those_of_all_frames(dataset, exported):
    statistics = json.loads((exported[0] / "meta/stats.json").read_text())
    states = np.concatenate([dataset.array(i.id, "proprio") for i in dataset.episodes])
    np.testing.assert_allclose(statistics["observation.state"]["mean"], states.mean(0), rtol=1e-4)
    np.testing.assert_allclose(statistics["observation.state"]["std"], states.std(0), atol=1e-5)
    images = np.concatenate([dataset.array(i.id, "rgb_static") for i in dataset.episodes]) / 255
    entry = statistics["observation.images.rgb_static"]
    assert np.shape(entry["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(entry["mean"]), images.mean((0, 1, 2)), rtol=1e-4)
    assert statistics["index"]["max"] == [173]


def test_small_files_turn_pages(dataset, tmp_path):
    export_lerobot(dataset, tmp_path / "out", data_file_mb=0.005, video_file_mb=0.01)
    for pattern in ("data/**/*.parquet", "videos/observation.images.rgb_static/**/*.mp4"):
        assert len(list((tmp_path / "out").glob(pattern))) > 2
    back = import_lerobot(tmp_path / "out", tmp_path / "back")
    assert labels(back) == labels(dataset)


def test_folders_hold_a_thousand_files():
    number = FileNumber(limit_bytes=1.0, file=998)
    places = []
    for _ in range(3):
        number.bytes = 2.0
        assert number.turn_page()
        places.append((number.chunk, number.file))
    assert places == [(0, 999), (1, 0), (1, 1)]
    assert not number.turn_page()


def test_deleted_episodes_stay_at_home(dataset, tmp_path):
    copy = Dataset.open(shutil.copytree(dataset.path, tmp_path / "copy"))
    edited = copy.with_edit(EPISODES[0][0], deleted=True)
    assert export_lerobot(edited, tmp_path / "out").episodes == 3
    assert labels(import_lerobot(tmp_path / "out", tmp_path / "back")) == labels(edited)


def test_broken_off_export_leaves_nothing_that_looks_whole(dataset, tmp_path, monkeypatch):
    calls = []

    def failing(self, images):
        calls.append(len(images))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(VideoWriter, "write", failing)
        with pytest.raises(KeyboardInterrupt):
            export_lerobot(dataset, tmp_path / "out")
    assert calls
    assert not (tmp_path / "out").exists()
    export_lerobot(dataset, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(ConfigError, match="out: exists"):
        export_lerobot(dataset, tmp_path / "out")


def test_broken_off_import_goes_on(dataset, folder, tmp_path, monkeypatch):
    add, added = DatasetWriter.add_episode, []

    def failing(self, episode_id, *args, **kwargs):
        if len(added) == 2:
            raise KeyboardInterrupt
        added.append(episode_id)
        return add(self, episode_id, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "add_episode", failing)
        with pytest.raises(KeyboardInterrupt):
            import_lerobot(folder, tmp_path / "back")
    before = list(added)
    with monkeypatch.context() as patch:
        patch.setattr(DatasetWriter, "add_episode", lambda *a, **k: (added.append(a), add(*a, **k)))
        assert labels(import_lerobot(folder, tmp_path / "back")) == labels(dataset)
    assert len(added) - len(before) == 2


def test_data_of_others_needs_a_contract(dataset, folder, tmp_path, camera_contract):
    forget_labels(folder)
    with pytest.raises(ConfigError, match="--contract"):
        import_lerobot(folder, tmp_path / "back")
    back = import_lerobot(folder, tmp_path / "back", camera_contract)
    assert [info.id for info in back.episodes] == [f"lerobot_{i:06d}" for i in range(4)]
    assert [info.task for info in back.episodes] == [
        info.task for info in sorted(dataset.episodes, key=lambda info: info.id)
    ]
    first = dataset.episodes[0]
    np.testing.assert_array_equal(
        back.array("lerobot_000000", "proprio"), dataset.array(first.id, "proprio")
    )
    np.testing.assert_array_equal(
        back.array("lerobot_000000", "action")[-1], camera_contract.action.neutral
    )
    assert back.episodes[0].outcome == ("success" if first.outcome == "success" else "failure")


def test_our_own_export_under_another_contract_is_refused(folder, tmp_path, camera_contract):
    other = camera_contract.model_copy(update={"name": "other"})
    with pytest.raises(ConfigError, match="another contract"):
        import_lerobot(folder, tmp_path / "back", other)


def rename_feature(folder, old, new):
    """Rename a feature that is stored in parquet, everywhere."""
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"][new] = info["features"].pop(old)
    (folder / "meta/info.json").write_text(json.dumps(info))
    for path in (folder / "data").rglob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(
            table.rename_columns([new if n == old else n for n in table.column_names]), path
        )


def test_features_may_have_other_names(folder, tmp_path, camera_contract):
    forget_labels(folder)
    rename_feature(folder, "observation.state", "observation.robot")
    with pytest.raises(ConfigError, match=r"observation\.state(.|\n)*observation\.robot"):
        import_lerobot(folder, tmp_path / "no", camera_contract)
    names = {"proprio": "observation.robot"}
    assert import_lerobot(folder, tmp_path / "back", camera_contract, features=names).episodes
    with pytest.raises(ConfigError, match="no key colour"):
        import_lerobot(folder, tmp_path / "no", camera_contract, features={"colour": "x"})


def test_pictures_in_parquet_are_read(dataset, folder, tmp_path, camera_contract):
    """Feature type "image": compressed pictures in the rows instead of a video, of any size."""
    name = "observation.images.rgb_static"
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"][name]["dtype"] = "image"
    (folder / "meta/info.json").write_text(json.dumps(info))
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    cells = []
    for episode in dataset.episodes:
        for image in dataset.array(episode.id, "rgb_static"):
            large = cv2.resize(image, (128, 128), interpolation=cv2.INTER_NEAREST)
            data = cv2.imencode(".png", cv2.cvtColor(large, cv2.COLOR_RGB2BGR))[1].tobytes()
            cells.append({"bytes": data, "path": None})
    pq.write_table(table.append_column(name, pa.array(cells)), path)
    back = import_lerobot(folder, tmp_path / "back", camera_contract)
    for episode in dataset.episodes:
        np.testing.assert_array_equal(
            back.array(episode.id, "rgb_static"), dataset.array(episode.id, "rgb_static")
        )


def test_absolute_actions_of_others_are_refused(folder, tmp_path, camera_contract):
    forget_labels(folder)
    path = folder / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    flat = pa.array(np.full(174 * 7, 3.0, np.float32))
    column = pa.FixedSizeListArray.from_arrays(flat, 7)
    index = table.column_names.index("action")
    pq.write_table(table.set_column(index, "action", column), path)
    with pytest.raises(ConfigError, match=r"outside \[-1, 1\]"):
        import_lerobot(folder, tmp_path / "back", camera_contract)


def damage(folder, how):
    info = folder / "meta/info.json"
    video = folder / "videos/observation.images.rgb_static/chunk-000/file-000.mp4"
    data = folder / "data/chunk-000/file-000.parquet"
    episodes = folder / "meta/episodes/chunk-000/file-000.parquet"
    if how == "version":
        info.write_text(info.read_text().replace("v3.0", "v2.1"))
    elif how == "no rate":
        info.write_text(info.read_text().replace('"fps": 30,', ""))
    elif how == "rate":
        info.write_text(info.read_text().replace('"fps": 30,', '"fps": 15,'))
    elif how == "text":
        info.write_bytes(b"\xff\xfe{")
    elif how == "sidecar":
        path = folder / "meta/diwa.json"
        path.write_text(path.read_text().replace('"version": 1', '"version": 9'))
    elif how == "video gone":
        video.unlink()
    elif how == "video cut":
        video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    elif how == "short video":
        images = np.zeros((70, 64, 64, 3), np.uint8)
        writer = VideoWriter(video, 30.0, (64, 64), "vp9")
        writer.write(images)
        writer.close()
    elif how == "data gone":
        data.unlink()
    elif how == "data cut":
        data.write_bytes(data.read_bytes()[:5000])
    elif how == "rows":
        pq.write_table(pq.read_table(data).slice(0, 170), data)
    elif how == "columns":
        table = pq.read_table(episodes)
        name = "videos/observation.images.rgb_static/from_timestamp"
        pq.write_table(table.drop_columns(["length", name]), episodes)
    elif how == "episodes":
        pq.write_table(pq.read_table(episodes).slice(0, 3), episodes)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("version", "v2.1"),
        ("no rate", "fps"),
        ("rate", "15 Hz"),
        ("text", r"info\.json: not valid JSON"),
        ("sidecar", r"diwa\.json"),
        ("video gone", r"file-000\.mp4: no such file"),
        ("video cut", r"file-000\.mp4: cannot be decoded"),
        ("short video", r"file-000\.mp4: frames missing"),
        ("data gone", r"file-000\.parquet: no such file"),
        ("data cut", r"file-000\.parquet: cannot be read"),
        ("rows", "frames of episode 3 missing"),
        ("episodes", "3 rows"),
        ("columns", r"columns missing\n  found:    length, videos/observation\.images\.rgb_static"),
    ],
)
def test_damage_is_named(folder, tmp_path, how, message):
    damage(folder, how)
    with pytest.raises(ConfigError, match=message):
        import_lerobot(folder, tmp_path / "back")


def test_play_without_cameras_goes_out_and_back(tmp_path, lowdim_contract):
    dataset = write_play(tmp_path / "data", lowdim_contract)
    export_lerobot(dataset, tmp_path / "out")
    assert not (tmp_path / "out/videos").exists()
    assert import_lerobot(tmp_path / "out", tmp_path / "back").hash == dataset.hash


@pytest.mark.parametrize("rate", [30.0, 29.97, 10.0, 7.5, 12.3])
def test_every_frame_is_found_at_any_rate(tmp_path, rate):
    values = np.arange(40, dtype=np.uint8) * 6
    images = np.broadcast_to(values[:, None, None, None], (40, 48, 64, 3))
    writer = VideoWriter(tmp_path / "v.mp4", rate, (48, 64), "lossless")
    writer.write(images)
    writer.close()
    for first, count in ((0, 40), (1, 1), (17, 5), (39, 1)):
        read = read_frames(tmp_path / "v.mp4", rate, first, count)
        np.testing.assert_array_equal(read, images[first : first + count])
    with pytest.raises(ConfigError, match="frames missing"):
        read_frames(tmp_path / "v.mp4", rate, 38, 5)
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert container.streams.video[0].average_rate == rate_fraction(rate)


def test_odd_sizes_need_another_codec(tmp_path):
    with pytest.raises(ConfigError, match="even sides"):
        VideoWriter(tmp_path / "v.mp4", 30.0, (63, 64), "av1")
    images = np.random.default_rng(0).integers(0, 255, (3, 63, 65, 3), np.uint8)
    writer = VideoWriter(tmp_path / "v.mp4", 30.0, (63, 65), "lossless")
    writer.write(images)
    writer.close()
    np.testing.assert_array_equal(read_frames(tmp_path / "v.mp4", 30.0, 0, 3), images)


def test_missing_encoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(ConfigError, match=r"no encoder libsvtav1(.|\n)*another codec"):
        VideoWriter(tmp_path / "v.mp4", 30.0, (64, 64), "av1")


def test_texts_become_names():
    assert task_name("Open the drawer.") == "open_the_drawer"
    assert task_name("open drawer") == "open_drawer"
    assert task_name("play") == ""


def test_without_pyarrow_the_command_says_what_to_install(dataset, tmp_path):
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from diwa.cli import main\n"
        f"sys.exit(main(['dataset', 'export', {str(dataset.path)!r}, '--out', 'x']))"
    )
    source = Path(__file__).resolve().parent.parent / "src" / "diwa_ros"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(source), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "diwa_ros[lerobot]" in done.stderr
