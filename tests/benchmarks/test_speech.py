import json
import wave
from pathlib import Path

import pytest
import whisper
from tokenizers import Tokenizer
from whisper.tokenizer import get_tokenizer

from benchmarks import speech
from benchmarks.ctranslate2_engine import write_tokenizer
from benchmarks.speech import Heard, Recording, Results, read_manifest, read_results, table, write_results
from benchmarks.word_errors import Errors, TimedWord
from deployments.project import project_folder

MINIATURE = project_folder() / "checkpoints" / "mini" / "whisper-mini.pt"
ENTRIES = [
    {"file": "quiet__b.wav", "text": "", "language": "en", "seconds": 1.0},
    {
        "file": "calls__a.wav",
        "text": "Please call.",
        "language": "en",
        "words": [{"word": "Please", "start": 0.1, "end": 0.4}, {"word": "call.", "start": 0.5, "end": 0.9}],
    },
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps(ENTRIES))
    for entry in ENTRIES:
        with wave.open(str(tmp_path / str(entry["file"])), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(bytes(2 * 16000))
    return tmp_path


def test_a_manifest_lists_recordings_in_sets(folder: Path) -> None:
    quiet, call = read_manifest(folder)
    assert (quiet.set_name, quiet.words, call.set_name) == ("quiet", [], "calls")
    assert call.words == [TimedWord("Please", 0.1, 0.4), TimedWord("call.", 0.5, 0.9)]
    assert read_manifest(folder, ["calls"]) == [call]
    with pytest.raises(ValueError, match="has no recordings of: news, radio"):
        read_manifest(folder, ["radio", "calls", "news"])


def test_the_table_has_a_row_for_each_set_and_one_for_all() -> None:
    recordings = [
        Recording("a__1.wav", "red fox", "en", [TimedWord("red", 0, 1)]),
        Recording("b__1.wav", "", "en"),
        Recording("a__2.wav", "yes", "en"),
    ]
    heard = {
        "a__1.wav": Heard("red", "en", [TimedWord("red", 0.5, 1)]),
        "b__1.wav": Heard("You.", "en"),
        "a__2.wav": Heard("", "und"),
    }
    rows = table(recordings, heard)
    assert [(row.set_name, row.errors, row.time_errors) for row in rows] == [
        ("a", Errors(3, deletions=2, missed=1), [0.5, 0.0]),
        ("b", Errors(0, insertions=1, invented=1), []),
        ("all", Errors(3, deletions=2, insertions=1, missed=1, invented=1), [0.5, 0.0]),
    ]


def test_results_of_another_process_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = Results({"a.wav": Heard("Hi.", "en", [TimedWord("Hi.", 0.0, 0.5)]), "b.wav": Heard("", "und")}, 1.5, 3, 2)
    write_results(results, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == results


def test_silence_is_measured_with_the_miniature(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(folder), "--weights", str(MINIATURE), "--engines", "ours", "--threads", "1", "--differences"]
    assert speech.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ours: ")
    assert [line.split() for line in lines[2:5]] == [
        ["quiet", "0", "-", "0", "0", "0", "0", "0", "-"],
        ["calls", "2", "100.0", "%", "0", "2", "0", "1", "0", "-"],
        ["all", "2", "100.0", "%", "0", "2", "0", "1", "0", "-"],
    ]
    assert lines[5:] == ["    calls__a.wav: please call -> -"]


def test_faster_whisper_gets_the_vocabulary_of_the_model(tmp_path: Path) -> None:
    write_tokenizer(whisper.load_model(str(MINIATURE)), tmp_path)
    written, tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json")), get_tokenizer(True)
    for name in ("<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>", "<|30.00|>"):
        assert written.token_to_id(name) == tokenizer.special_tokens[name]
    for text in (" Hello, wörld!", "客観的実在 it's 12345", " l'année   2"):
        assert written.encode(text).ids == tokenizer.encode(text)
        assert written.decode(tokenizer.encode(text)) == text
