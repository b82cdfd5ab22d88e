# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""What became of each bag of a dataset: its episodes, and what alignment held, dropped or missed.

Kept as `DIR/sources/<episode id>.json`, one file per bag, written when the bag's episodes are on
disk. It is how a build knows what it need not do again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from diwa.config import Config, parse_config
from diwa.data.alignment import KeyAlignment
from diwa.data.episode import EpisodeId
from diwa.data.manifest import record_path
from diwa.data.previous_actions import ActionCounts
from diwa.files import read_json, write_json

FOLDER = "sources"
VERSION: Literal[2] = 2

# What is worth a remark.
MOST_HELD = 0.1  # share of the frames; a topic slower than the control rate has more
MOST_CLIPPED = 0.01  # share of the derived actions
MOST_LINES = 20


class Segment(Config):
    """Frames without a break.

    Attributes:
        cause: why it started: "start", "reset", "no KEY in time"...
        episode: of the dataset that it became; empty: too short for one.
        frames: number of frames.
        start_ns: stamp of the first frame [ns].
        end_ns: stamp of the last frame [ns].
    """

    cause: str
    episode: str
    frames: int
    start_ns: int
    end_ns: int


class BagReport(Config):
    """One bag.

    Attributes:
        fingerprint: of the recording; with another one it is converted again.
        labels: kind, task and outcome that its episodes were given from its record.
        bag: name of its folder.
        frames: in all episodes.
        rate_hz: control rate.
        segments: in the order of time.
        keys: what became of each key's samples.
        actions: what became of the actions.
    """

    version: Literal[2] = VERSION
    fingerprint: str
    labels: tuple[str, str, str]
    bag: str
    frames: int
    rate_hz: float
    segments: tuple[Segment, ...]
    keys: dict[str, KeyAlignment]
    actions: ActionCounts

    @property
    def episodes(self) -> tuple[str, ...]:
        """Ids of the episodes that the bag became."""
        return tuple(segment.episode for segment in self.segments if segment.episode)

    @property
    def lost_frames(self) -> int:
        """Frames that the time between the first and the last one had room for."""
        if not self.segments:
            return 0
        span = (self.segments[-1].end_ns - self.segments[0].start_ns) / 1e9
        return max(0, round(span * self.rate_hz) + 1 - sum(part.frames for part in self.segments))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of this bag, in words; empty where all is well."""
        found = []
        silent = [key for key, counts in self.keys.items() if not counts.received]
        if silent:
            found.append(f"nothing on {', '.join(silent)}")
        elif not self.frames:
            found.append(self._why_no_frames())
        cuts = [f"{s.cause} at {self._time(s):.1f} s" for s in self.segments[1:]]
        found += cuts[:3] + ([f"{len(cuts) - 3} more cuts"] if len(cuts) > 3 else [])
        for key, counts in self.keys.items():
            if counts.held > MOST_HELD * counts.used:
                found.append(f"{key} held in {counts.held / counts.used:.0%} of the frames")
            if counts.late:
                found.append(f"{counts.late} late on {key}")
        actions = self.actions
        if actions.derived and actions.clipped > MOST_CLIPPED * actions.used:
            share = actions.clipped / actions.used
            found.append(f"{share:.0%} of the actions clipped, largest {actions.largest:.2g}")
        return tuple(found)

    def _why_no_frames(self) -> str:
        """What keeps the keys' samples from meeting."""
        if not (self.actions.derived or self.actions.received):
            return "no executed actions; --derive-actions tells them from poses"
        for key, counts in self.keys.items():
            if counts.first_ns == counts.last_ns and counts.received > 1:
                return f"the stamps on {key} never change"
        begun = max(self.keys, key=lambda key: self.keys[key].first_ns)
        ended = min(self.keys, key=lambda key: self.keys[key].last_ns)
        apart = (self.keys[begun].first_ns - self.keys[ended].last_ns) / 1e9
        if apart > 0:
            return f"the stamps on {begun} and {ended} are of other clocks, {apart:.6g} s apart"
        return "no two frames in a row"

    def _time(self, segment: Segment) -> float:
        return (segment.start_ns - self.segments[0].start_ns) / 1e9


def report_path(dataset: Path, episode_id: str) -> Path:
    """File of the report on the bag of that episode id."""
    return dataset / FOLDER / f"{episode_id}.json"


def read_report(dataset: Path, episode_id: EpisodeId) -> BagReport | None:
    """The report on a bag; None where there is none of today's format, or an episode is gone."""
    path = report_path(dataset, episode_id)
    if not path.is_file():
        return None
    raw = read_json(path)
    if not isinstance(raw, dict) or raw.get("version") != VERSION:
        return None
    report = parse_config(BagReport, raw, str(path))
    whole = all(record_path(dataset, name).is_file() for name in report.episodes)
    return report if whole else None


def write_report(dataset: Path, episode_id: EpisodeId, report: BagReport) -> None:
    """Keep the report on a bag."""
    write_json(report_path(dataset, episode_id), report.model_dump(mode="json"))


def read_reports(dataset: Path) -> dict[str, BagReport]:
    """All reports in a dataset folder, by the bag's episode id; none in an imported dataset."""
    names = sorted(path.stem for path in (dataset / FOLDER).glob("*.json"))
    found = {name: read_report(dataset, name) for name in names}
    return {name: report for name, report in found.items() if report is not None}


def total_of(reports: Sequence[BagReport]) -> dict[str, KeyAlignment]:
    """Counts per key over several bags."""
    keys: dict[str, list[KeyAlignment]] = {}
    for report in reports:
        for key, counts in report.keys.items():
            keys.setdefault(key, []).append(counts)
    return {
        key: KeyAlignment(
            received=sum(part.received for part in parts),
            late=sum(part.late for part in parts),
            used=sum(part.used for part in parts),
            held=sum(part.held for part in parts),
            missing=sum(part.missing for part in parts),
            oldest_s=max(part.oldest_s for part in parts),
            first_ns=min(part.first_ns for part in parts),
            last_ns=max(part.last_ns for part in parts),
        )
        for key, parts in keys.items()
    }


def as_text(reports: Sequence[BagReport]) -> str:
    """The reports for a terminal: a line per key, and one per bag that is worth a look."""
    lines = [
        f"{'key':<20}{'received':>10}{'frames':>9}{'held':>8}{'late':>7}{'missing':>9}{'oldest':>10}"
    ]
    for key, counts in total_of(reports).items():
        lines.append(
            f"{key:<20}{counts.received:>10}{counts.used:>9}{counts.held:>8}{counts.late:>7}"
            f"{counts.missing:>9}{counts.oldest_s * 1e3:>7.0f} ms"
        )
    used = sum(report.actions.used for report in reports)
    clipped = sum(report.actions.clipped for report in reports)
    derived = any(report.actions.derived for report in reports)
    kind = "derived from poses" if derived else "executed"
    lines += [
        "",
        f"actions {kind}: {used}, {clipped / max(used, 1):.1%} clipped; frames lost between "
        f"segments: {sum(report.lost_frames for report in reports)}",
    ]
    marked = [report for report in reports if report.remarks]
    if marked:
        lines += ["", f"{len(marked)} of {len(reports)} bags with remarks:"]
        lines += [f"  {r.bag}: {'; '.join(r.remarks)}" for r in marked[:MOST_LINES]]
    if len(marked) > MOST_LINES:
        lines.append(f"  ... and {len(marked) - MOST_LINES} more")
    return "\n".join(lines)
