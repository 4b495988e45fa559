import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn

from deployments.captioner.types import Caption, FrameFailure
from deployments.errors import InvalidFile, ModelNotLoaded
from deployments.model_loader import ModelStatus
from deployments.transcriber.types import TranscriptSegment, TranscriptWord
from samples import client, program, report
from samples.running_server import RunningServer, free_port
from serve_app.api import create_api
from serve_app.settings import AppConfig
from serve_app.sniffing import sniff
from tests.prism.library.served import WordEmbedder, serving_library
from tests.serve_app.fakes import FakeGraph, FakeSystem

ROOT = Path(__file__).parent.parent
FOLDERS = (ROOT / "samples", ROOT / "tests" / "data")
MEDIA = sorted(path for folder in FOLDERS for path in folder.iterdir() if path.suffix in client.KINDS)

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


@pytest.fixture
def run(graph: FakeGraph, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the program against the API over `graph`; return its exit status and what it wrote, 90 columns wide."""
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setattr(client, "POLL_PERIOD_S", 0.01)

    def run_program(*files: Path) -> tuple[int, str]:
        with _serving(graph) as url:
            status = program.main(["--url", url, *map(str, files)])
        return status, capsys.readouterr().out

    return run_program


@contextmanager
def _serving(graph: FakeGraph) -> Iterator[str]:
    port = free_port()
    config = uvicorn.Config(create_api(graph.context(AppConfig())), port=port, ws="none", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            thread.join(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("path", MEDIA, ids=lambda path: path.name)
def test_the_content_of_each_file_is_what_its_extension_says(path: Path) -> None:
    found = sniff(path.read_bytes())
    assert found is not None
    assert client.KINDS[path.suffix] in found.kinds


def test_the_words_of_all_three_samples_are_shown(run: Run) -> None:
    status, text = run()
    assert status == 0
    lines = text.splitlines()
    assert "description     a picture" in lines
    assert "  at 0:06.1     frame 1" in lines
    assert "summary         summary of frame 0, frame 1, frame 2, frame 3, frame 4" in lines
    assert lines.count("0:00.0-0:01.5   Hello there.") == 2  # the clip's transcript and the recording's
    assert "audio           2.0 s, language 'en', confidence 0.91" in lines
    assert "model           moondream2, whisper-base" in lines


def test_what_was_sent_and_the_state_of_the_server_are_shown(run: Run) -> None:
    _, text = run()
    for path in program.SAMPLES:
        assert f"\n{path.name} ---" in text
    size = report.format_size(program.SAMPLES[1].stat().st_size)
    assert f"sent            video, {size}" in text
    assert "memory          3200 MB" in text
    assert "status          healthy" in text
    assert "model           whisper-base: loaded, took 1.2 s to load, 145.0 MB of weights" in text


def test_results_of_a_miniature_come_with_a_warning_and_the_commands_for_the_real_ones(
    run: Run, graph: FakeGraph
) -> None:
    assert "miniatures" not in run()[1]
    graph.system.statuses = [replace(status, name="mini", is_miniature=True) for status in graph.system.statuses]
    status, text = run()
    assert status == 0
    assert "miniatures (mini and mini) that know drawn shapes" in " ".join(text.split())
    assert "    prism weights fetch\n    prism serve\n" in text


def test_a_failed_model_is_reported_but_not_called_a_miniature(run: Run, graph: FakeGraph) -> None:
    graph.system.statuses[0] = ModelStatus("moondream2", "failed", detail="The disk is full.")
    _, text = run(program.SAMPLES[0])
    assert "model           moondream2: failed. The disk is full." in text
    assert "miniatures" not in text


def test_an_error_of_the_api_is_shown_with_its_code_and_fails_only_its_file(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "letter.png"
    bad.write_text("Dear reader")
    status, text = run(bad, program.SAMPLES[0])
    assert status == 1
    assert "failed          INVALID_FILE_TYPE: The content looks like text" in text
    assert "description     a picture" in text
    assert "1 of 2 files failed." in text


@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing.png", "cannot be read: No such file"), ("notes.txt", "No route takes files that end")],
)
def test_a_file_that_cannot_be_sent_fails_and_says_why(run: Run, tmp_path: Path, name: str, reason: str) -> None:
    status, text = run(tmp_path / name)
    assert status == 1
    assert reason in text


def test_a_frame_that_failed_is_shown_and_fails_the_run(run: Run, graph: FakeGraph) -> None:
    graph.captioner.describe = lambda number: FrameFailure("Broken.") if number == 2 else Caption("A boat.", "stop")
    status, text = run(program.SAMPLES[1])
    assert status == 1
    assert "  at 0:12.2     [failed: Broken.]" in text


def test_warnings_about_a_damaged_file_are_shown(run: Run, graph: FakeGraph) -> None:
    warning = "The file breaks off: its sound ends after 12.3 of 30.0 seconds."
    graph.transcriber.transcript = replace(graph.transcriber.transcript, warnings=[warning])
    for sample in program.SAMPLES[1:]:
        status, text = run(sample)
        assert status == 0
        assert f"warning         {warning}" in text


def test_loading_models_are_waited_for_with_their_progress(run: Run, graph: FakeGraph) -> None:
    class LoadsAfterAWhile(FakeSystem):
        num_asked = 0

        def models(self) -> list[ModelStatus]:
            self.num_asked += 1
            loading = ModelStatus("moondream2", "loading", detail="fetching model.safetensors, 1.2 of 3.9 GB")
            return [loading, self.statuses[1]] if self.num_asked < 7 else self.statuses

    graph.system = LoadsAfterAWhile()
    status, text = run(program.SAMPLES[0])
    assert status == 0
    assert text.count("moondream2 is loading (fetching model.safetensors, 1.2 of 3.9 GB)") == 1
    assert "description     a picture" in text


def test_without_a_server_the_command_that_starts_one_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--url", f"http://127.0.0.1:{free_port()}"]) == 1
    assert "    prism serve --mini\n" in capsys.readouterr().out


@pytest.fixture
def own_server(graph: FakeGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replace the program's own server by the API over `graph` and a real library; return the files it starts with."""
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("MODEL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(client, "POLL_PERIOD_S", 0.05)
    files: list[Path] = []

    @contextmanager
    def server(file: Path) -> Iterator[RunningServer]:
        files.append(file)
        with serving_library(graph, tmp_path / "library") as url:
            yield RunningServer(url, 0, Path(), Path())

    monkeypatch.setattr(program, "running_server", server)
    return files


SPOKEN = "The apple trees are in bloom this week."


@pytest.mark.parametrize("arguments", [["--mini"], ["--serve", str(ROOT / "config/mini.yaml")]])
def test_a_server_of_its_own_is_asked_three_questions_and_the_places_are_shown(
    arguments: list[str], graph: FakeGraph, own_server: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [TranscriptWord(f" {word}", 4 + 0.2 * i, 4.2 + 0.2 * i, 0.9) for i, word in enumerate(SPOKEN.split())]
    segment = TranscriptSegment(4.0, words[-1].end_s, SPOKEN, 0.9, words)
    graph.transcriber.transcript = replace(graph.transcriber.transcript, segments=[segment])
    status = program.main(arguments)
    text = capsys.readouterr().out
    assert status == 0, text
    assert own_server == [ROOT / "config/mini.yaml"]
    assert "description     a picture" in text
    assert "added           picture.jpg, clip.mp4, recording.mp3, article.pdf, rules.docx\n" in text
    answers = " ".join(text.split())
    assert "question What was the radio dish built from? found in article.pdf, page 1 passage" in answers
    assert "from the parts of a gun turret" in answers
    assert (
        "question Who may light the furnace? found in rules.docx, Rules of the workshop > Machines > Furnace, paragraph"
        in answers
    )
    assert "question Which trees are in bloom? found in" in answers
    assert f"0:00:04 to 0:00:05 passage {SPOKEN}" in answers


def test_what_the_first_run_fetches_is_said_before(own_server: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    program.main(["--mini"])
    text = " ".join(capsys.readouterr().out.split())
    note = "download Search needs all-MiniLM-L6-v2: 83.5 MB, from the Hugging Face hub or out of a package"
    assert text.index(note) < text.index("progress")


def test_a_model_that_cannot_be_fetched_fails_the_run_and_says_what_to_do(
    graph: FakeGraph, own_server: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    graph.embedder = WordEmbedder()
    graph.embedder.error = ModelNotLoaded("all-MiniLM-L6-v2 could not be loaded.")
    reason = "Neither the hub nor the package index can be reached."
    graph.system.statuses.append(ModelStatus("all-MiniLM-L6-v2", "failed", detail=reason, is_lazy=True))
    assert program.main(["--mini"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert f"failed all-MiniLM-L6-v2 could not be loaded: {reason} `prism weights fetch --embedder` fetches" in text
    assert "The library failed." in text


def test_the_progress_of_a_model_that_is_fetched_is_shown(
    graph: FakeGraph, own_server: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    class FetchesForAWhile(FakeSystem):
        num_asked = 0

        def models(self) -> list[ModelStatus]:
            self.num_asked += 1
            detail = "fetching the wheel, 41.2 of 83.5 MB"
            fetching = ModelStatus("all-MiniLM-L6-v2", "loading", detail=detail, is_lazy=True)
            return [*self.statuses, fetching] if self.num_asked < 9 else self.statuses

    graph.system = FetchesForAWhile()
    assert program.main(["--mini"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("all-MiniLM-L6-v2 is loading (fetching the wheel, 41.2 of 83.5 MB)") == 1


def test_a_file_that_cannot_be_indexed_fails_the_run(
    graph: FakeGraph, own_server: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    graph.embedder = WordEmbedder()
    graph.embedder.error = InvalidFile("It is damaged.")
    assert program.main(["--mini"]) == 1
    assert "could not be indexed: It is damaged." in " ".join(capsys.readouterr().out.split())


def test_the_library_of_a_running_server_and_questions_about_other_files_are_left_alone(
    run: Run, graph: FakeGraph, own_server: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = run()  # this server has no library: a call to it would fail
    assert status == 0
    assert "library" not in text
    assert program.main(["--mini", str(program.SAMPLES[0])]) == 0
    assert "question" not in capsys.readouterr().out


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_status:
        program.main(["--help"])
    assert exit_status.value.code == 0
    text = capsys.readouterr().out
    for option in ("--url", "--serve", "--mini", "FILE"):
        assert option in text


@pytest.mark.parametrize("width", [40, 57, 100])
def test_long_words_wrap_at_the_width_beside_their_label(width: int) -> None:
    lines = report.format_rows([("summary", "a red house by a lake " * 20 + "x" * 150)], width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("summary         a red")
    assert all(line.startswith(" " * report.LABEL_WIDTH) for line in lines[1:])


def test_a_model_cannot_send_commands_to_the_terminal() -> None:
    assert (
        report.format_rows([("summary", "red\x1b[31m\x07 house\nlake")], 80) == "summary         red [31m  house lake"
    )


def test_times_are_minutes_and_seconds() -> None:
    assert [report.format_time(seconds) for seconds in (0, 6.1, 59.96, 66.04)] == [
        "0:00.0",
        "0:06.1",
        "1:00.0",
        "1:06.0",
    ]


def test_no_speech_is_reported_as_such(run: Run, graph: FakeGraph) -> None:
    graph.transcriber.transcript = replace(graph.transcriber.transcript, text="", language="und", segments=[])
    assert "audio           2.0 s; no speech" in run(program.SAMPLES[2])[1]
