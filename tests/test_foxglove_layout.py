# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""The Foxglove layouts show topics and fields that exist: those of the contracts and the nodes."""

import json
import re
from pathlib import Path

import pytest
from mcap.reader import make_reader
from rosbags.interfaces import Nodetype

from bag_files import lockstep_bag
from diwa.data.contract import load_contract
from diwa.data.message_types import typestore_for

ROOT = Path(__file__).resolve().parent.parent
LAYOUTS = sorted((ROOT / "config/foxglove").glob("*.json"))
CONTRACTS = sorted((ROOT / "config/contracts").glob("*.yaml"))
NODE_TOPICS = {
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
    "/franka_bridge/status": "diwa_msgs/msg/RobotStatus",
    "/play_recorder/status": "diwa_msgs/msg/RecorderStatus",
}
POSES = {"geometry_msgs/msg/PoseStamped"}
IMAGES = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}
NUMBERS = {
    "bool",
    "float32",
    "float64",
    *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)),
}


def topics_of(contract) -> dict[str, str]:
    found = {f"/{s.topic}": s.type for s in contract.observations.values()}
    return found | {f"/{contract.action.topic}": contract.action.type}


def panels_in(node) -> list[str]:
    """Panels that a tree of rows and columns shows."""
    if isinstance(node, str):
        return [node]
    assert node["direction"] in ("row", "column")
    assert 0 < node["splitPercentage"] < 100
    return panels_in(node["first"]) + panels_in(node["second"])


def value_type(path: str, topics: dict[str, str]) -> str:
    """Type of the value at `/topic.field[0].field`; asserts that every step exists."""
    topic = next((t for t in topics if path == t or path.startswith(t + ".")), None)
    assert topic is not None, path
    store = typestore_for({topics[topic]})
    kind = topics[topic]
    for step in path[len(topic) + 1 :].split(".") if path != topic else ():
        name, index = re.fullmatch(r"(\w+)(?:\[(\d+)\])?", step).groups()
        fields = dict(store.fielddefs[kind][1])
        assert name in fields, f"{path}: no field {name} in {kind}"
        nodetype, inner = fields[name]
        if index is not None:
            assert nodetype in (Nodetype.ARRAY, Nodetype.SEQUENCE), path
            (nodetype, inner), size = inner
            if size:
                assert int(index) < size, path
        kind = inner[0] if nodetype == Nodetype.BASE else inner
    return kind


@pytest.fixture(params=LAYOUTS, ids=[path.stem for path in LAYOUTS])
def layout(request):
    contract = load_contract(ROOT / "config/contracts" / f"{request.param.stem}.yaml")
    return json.loads(request.param.read_text()), contract


def paths_by_panel(panels) -> dict[str, list[str]]:
    found = {}
    for name, config in panels.items():
        kind = name.partition("!")[0]
        if kind == "Image":
            found[name] = [config["imageMode"]["imageTopic"]]
        elif kind == "3D":
            found[name] = list(config["topics"])
        elif kind == "DiagnosticSummary":
            found[name] = [config["topicToRender"]]
        elif kind == "RawMessages":
            found[name] = [config["topicPath"]]
        else:
            found[name] = [path["value"] for path in config.get("paths", ())]
    return found


def test_every_panel_is_shown_once(layout):
    content, _ = layout
    assert set(content) == {
        "configById",
        "globalVariables",
        "userNodes",
        "playbackConfig",
        "layout",
    }
    tabs = content["configById"][content["layout"]]["tabs"]
    shown = [content["layout"], *(name for tab in tabs for name in panels_in(tab["layout"]))]
    assert sorted(shown) == sorted(content["configById"])


def test_every_path_exists_and_can_be_drawn(layout):
    content, contract = layout
    topics = topics_of(contract) | NODE_TOPICS
    for name, paths in paths_by_panel(content["configById"]).items():
        assert paths or name.startswith("Tab!"), name
        for path in paths:
            kind = value_type(path, topics)
            if name.startswith("Plot!"):
                assert kind in NUMBERS, (name, path)
            elif name.startswith("StateTransitions!"):
                assert kind in NUMBERS | {"string"}, (name, path)
            elif name.startswith("Image!"):
                assert kind in IMAGES, (name, path)
            elif name.startswith("3D!"):
                assert kind in POSES, (name, path)


def test_plots_are_switched_on(layout):
    for name, config in layout[0]["configById"].items():
        if name.startswith("Plot!"):
            assert all(path["enabled"] for path in config["paths"]), name


def test_indices_are_within_the_contract(layout):
    content, contract = layout
    sizes = {f"/{s.topic}.position": len(s.names) for s in contract.observations.values()}
    sizes |= {f"/{s.topic}.state": s.size for s in contract.observations.values()}
    sizes[f"/{contract.action.topic}.action"] = contract.action.size
    seen = set()
    for paths in paths_by_panel(content["configById"]).values():
        for path in paths:
            field, _, index = path.rstrip("]").partition("[")
            if field in sizes:
                assert int(index) < sizes[field], path
                seen.add(field)
    assert seen == {field for field, size in sizes.items() if size}


def test_frame_of_the_3d_view_is_the_contracts(layout):
    content, contract = layout
    frames = {s.frame_id for s in contract.observations.values() if s.kind == "pose"}
    views = [c for name, c in content["configById"].items() if name.startswith("3D!")]
    assert {view["followTf"] for view in views} == frames


@pytest.mark.parametrize("path", CONTRACTS, ids=[path.stem for path in CONTRACTS])
def test_every_contract_has_a_layout_with_all_its_topics(path):
    topics = set(topics_of(load_contract(path)))
    best = set()
    for layout in LAYOUTS:
        content = json.loads(layout.read_text())
        paths = [p for ps in paths_by_panel(content["configById"]).values() for p in ps]
        shown = {t for t in topics if any(p == t or p.startswith(t + ".") for p in paths)}
        best = max(best, shown, key=len)
    assert best == topics


def test_bags_say_what_their_messages_look_like(tmp_path, camera_contract):
    """Foxglove has no ROS types of its own: the definitions must be in the file."""
    bag = lockstep_bag(tmp_path / "play_0001", camera_contract, 3)
    (file,) = bag.glob("*.mcap")
    with file.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    found = {}
    for channel in summary.channels.values():
        schema = summary.schemas[channel.schema_id]
        assert (channel.message_encoding, schema.encoding) == ("cdr", "ros2msg")
        found[f"/{channel.topic.lstrip('/')}"] = schema.name
        text = schema.data.decode()
        assert "std_msgs/Header header" in text
        assert "MSG: std_msgs/Header" in text
    assert found == topics_of(camera_contract)
