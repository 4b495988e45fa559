import json
from pathlib import Path
from typing import Any

import pytest

from serve_app import speeds as speeds_module
from serve_app.progress import PERIOD_S, Progress, Stage
from serve_app.scheduling import Client
from serve_app.speeds import Speeds


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Follower:
    """A progress whose events are kept."""

    def __init__(self, speeds: Speeds) -> None:
        self.clock = Clock()
        self.client = Client()
        self.events: list[dict[str, Any]] = []
        self.progress = Progress(lambda name, data: self.events.append(data), speeds, self.client, 0, self.clock)

    @property
    def eta(self) -> Any:
        return self.events[-1]["eta_seconds"]


def measured(**seconds: float) -> Speeds:
    speeds = Speeds(None)
    speeds.add((work, 1, value) for work, value in seconds.items())
    return speeds


def test_the_time_left_is_that_of_the_rest_of_this_stage_and_of_the_next_ones() -> None:
    follower = Follower(measured(a=10.0, b=2.0))
    track = follower.progress.track(Stage("first", "a", 1), Stage("second", "b", 3))
    track.advance("first", 0.0)
    assert follower.eta == 16.0
    follower.clock.now = 4.0
    track.advance("first", 0.1)
    assert follower.eta == 15.0
    follower.clock.now = 10.0
    track.advance("first", 0.5)  # its own pace: 10 s for half of it
    assert follower.eta == 16.0
    follower.clock.now = 20.0
    track.advance("second", None)
    assert follower.eta == 6.0
    follower.clock.now = 21.0
    track.advance("second", None)
    assert follower.eta == 5.0


def test_without_experience_there_is_no_estimate() -> None:
    follower = Follower(measured(a=1.0))
    track = follower.progress.track(Stage("first", "a", 1), Stage("second", "b", 1))
    track.advance("first", 0.5)
    assert follower.eta is None


def test_the_slowest_track_decides() -> None:
    follower = Follower(measured(a=1.0, b=5.0))
    follower.progress.track(Stage("second", "b", 1))
    follower.progress.track(Stage("first", "a", 1)).advance("first", 0.0)
    assert follower.eta == 5.0


def test_progress_is_sent_at_most_four_times_a_second_but_each_stage_at_once() -> None:
    follower = Follower(Speeds(None))
    track = follower.progress.track(Stage("first", "a", 1), Stage("second", "b", 1))
    for _ in range(10):
        track.advance("first", 0.5)
        follower.clock.now += PERIOD_S / 4
    track.advance("second", None)
    assert [event["stage"] for event in follower.events] == ["first"] * 3 + ["second"]


def test_only_typical_work_without_waiting_is_remembered() -> None:
    speeds = Speeds(None)
    follower = Follower(speeds)
    track = follower.progress.track(Stage("first", "a", 2), Stage("second", "b", 1), Stage("third", "c", None))
    track.advance("first", None)
    follower.clock.now = 4.0
    track.advance("second", None)
    follower.client.waited_s = 3.0  # for others
    follower.clock.now = 9.0
    track.advance("third", None)
    track.done()
    assert speeds.seconds("a", 1) == 2.0
    assert speeds.seconds("b", 1) is None
    assert speeds.seconds("c", 1) is None
    other = Follower(speeds)
    reused = other.progress.track(Stage("first", "a", 1))
    reused.advance("first", None)
    reused.done(is_typical=False)
    assert speeds.seconds("a", 1) == 2.0


def test_what_happens_before_the_first_stage_is_not_work() -> None:
    follower = Follower(measured(a=4.0))
    track = follower.progress.track(Stage("first", "a", 1))
    follower.clock.now = 50.0  # a model was loaded
    track.advance("first", 0.0)
    assert follower.eta == 4.0
    follower.clock.now = 51.0
    track.advance("first", 0.25)
    assert follower.eta == 3.0


def test_a_track_measures_beside_another_that_waits() -> None:
    speeds = Speeds(None)
    follower = Follower(speeds)
    first, second = (follower.progress.track(Stage("only", work, 1)) for work in "ab")
    first.advance("only", None)
    follower.clock.now, follower.client.waited_s = 2.0, 1.0
    second.advance("only", None)
    follower.clock.now = 3.0
    first.done()
    second.done()
    assert speeds.seconds("a", 1) is None
    assert speeds.seconds("b", 1) == 1.0


def test_speeds_survive_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models" / "speeds.json"
    Speeds(file).add([("a", 4, 2.0), ("b", 1, 1.0)])
    speeds = Speeds(file)
    assert speeds.seconds("a", 4) == 2.0
    assert speeds.seconds("b", 1) == 1.0
    speeds.add([("c", 1, 1.0)])  # new, so it is written at once
    speeds.add([("a", 1, 1.5)])
    assert Speeds(file).seconds("c", 1) == 1.0
    assert Speeds(file).seconds("a", 1) == 0.5
    monkeypatch.setattr(speeds_module, "WRITE_PERIOD_S", 0.0)
    speeds.add([("b", 1, 1.0)])
    assert Speeds(file).seconds("a", 1) == pytest.approx(0.5 + 0.3)
    assert [path.name for path in file.parent.iterdir()] == ["speeds.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"a": "fast"}', '{"a": null}', "\x00"])
def test_a_damaged_file_of_speeds_is_measured_anew(tmp_path: Path, content: str) -> None:
    file = tmp_path / "speeds.json"
    file.write_text(content)
    speeds = Speeds(file)
    assert speeds.seconds("a", 1) is None
    speeds.add([("a", 1, 1.0)])
    assert json.loads(file.read_text()) == {"a": 1.0}


def test_a_folder_that_cannot_be_written_keeps_speeds_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    speeds = Speeds(tmp_path / "file" / "speeds.json")
    speeds.add([("a", 1, 1.0)])
    assert speeds.seconds("a", 1) == 1.0
