# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from diwa.data.bags import BagWriter, contract_topics
from diwa.data.dataset import DatasetWriter
from diwa.data.episode import EpisodeRecord
from diwa.data.info import describe
from diwa.data.message_types import typestore_for
from diwa.data.text_table import MOST_ROWS
from diwa.errors import ConfigError
from robot_messages import LockstepRobot, rosbags_factory


def has_row(text, row):
    return any(line.split() == row.split() for line in text.splitlines())


@pytest.fixture
def bag(tmp_path, lowdim_contract):
    kinds = contract_topics(lowdim_contract)
    types = typestore_for(set(kinds.values()))
    topics = {key: stream.topic for key, stream in lowdim_contract.observations.items()}
    topics["action"] = lowdim_contract.action.topic
    writer = BagWriter(tmp_path / "bags/ep7", lowdim_contract, backend="rosbags")
    robot = LockstepRobot(lowdim_contract, rosbags_factory(lowdim_contract))
    for index, (key, message) in enumerate(robot.run(90)):
        data = types.serialize_cdr(message, kinds[topics[key]])
        writer.write(topics[key], index * 10**9 // 120, bytes(data))
    writer.close(
        EpisodeRecord(
            id="ep7",
            kind="demo",
            task="turn_on_led",
            outcome="failure",
            reason="missed the button",
            note="first try",
            contract=lowdim_contract,
            ended_ns=3 * 10**9,
        )
    )
    return tmp_path / "bags/ep7"


def test_dataset_is_counted_by_kind_task_and_outcome(tmp_path, lowdim_contract):
    writer = DatasetWriter(tmp_path, lowdim_contract)
    for index, task in enumerate(["", "open_drawer", "open_drawer"]):
        arrays = {
            "proprio": np.full((100 + index, 18), 0.25, dtype=np.float32),
            "scene_state": np.zeros((100 + index, 24), dtype=np.float32),
            "action": np.zeros((99 + index, 7), dtype=np.float32),
        }
        kind = "demo" if task else "play"
        writer.add_episode(f"e{index}", kind, task, "success" if task else "unknown", arrays)
    dataset = writer.finish()
    text = describe(tmp_path)
    assert has_row(text, "demo open_drawer success 2 203")
    assert has_row(text, "play - unknown 1 100")
    assert dataset.hash in text
    assert "frames     303 (10.1 s)" in text
    assert has_row(text, "proprio float32 18 0.25 to 0.25 18 never change")
    dataset.with_edit("e0", deleted=True)
    assert "episodes   2 and 1 deleted" in describe(tmp_path)


def test_bag_shows_its_facts_and_rates(bag):
    text = describe(bag)
    assert "failure (missed the button)" in text
    assert "first try" in text
    assert has_row(text, "/ee_pose geometry_msgs/msg/PoseStamped 90 30.2")


def test_bag_of_somebody_else_is_described_too(bag):
    (bag / "episode.json").unlink()
    assert "/executed_action" in describe(bag)


def test_folder_of_bags_is_listed(bag):
    text = describe(bag.parent)
    assert "1 bags in" in text
    assert has_row(text, "ep7 demo turn_on_led failure (missed the button) 3.0 s")


def test_run_shows_its_stages(tmp_path):
    for name, seconds in (("dataset", 65), ("policy", 3)):
        (tmp_path / "stages" / name).mkdir(parents=True)
        record = {"seconds": seconds, "peak_memory_bytes": 2.5e9, "result": {"loss": 0.125}}
        (tmp_path / "stages" / name / "done.json").write_text(json.dumps(record))
    (tmp_path / "stages/finetune").mkdir()
    text = describe(tmp_path)
    assert has_row(text, "dataset 1 min 05 s 2.5 GB loss 0.125")
    assert has_row(text, "finetune begun")


def test_checkpoint_shows_what_it_is_for(tmp_path, lowdim_contract):
    meta = {"skill": "open_drawer", "contract": lowdim_contract.model_dump(mode="json")}
    header = {"kind": "agent", "weights": {"file": "w.safetensors"}, "meta": meta}
    (tmp_path / "checkpoint.json").write_text(json.dumps(header))
    (tmp_path / "w.safetensors").write_bytes(bytes(12_300))
    text = describe(tmp_path)
    assert "weights    12.3 kB" in text
    assert "open_drawer" in text
    assert "panda_calvin_lowdim" in text


def test_long_tables_are_cut(tmp_path, bag):
    text = (bag / "episode.json").read_text()
    for index in range(MOST_ROWS + 3):
        (tmp_path / f"more/{index:03}").mkdir(parents=True)
        (tmp_path / f"more/{index:03}/episode.json").write_text(text)
    assert "... and 3 more" in describe(tmp_path / "more")


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_anything_else_is_an_error(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="nothing that is known"):
        describe(tmp_path / name)
