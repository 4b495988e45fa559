"""Measures how long indexing takes: `prism benchmark search indexing [--pdf FILE] [--rounds 3]`.

Pages with a text layer, scanned pages, a picture, a recording and a video go through the deployments in this process,
without Ray. Beside documents and pictures stands their floor, measured in the same rounds: what the parts take alone,
on the same threads. For pages with text that is pdfium's text and the encoder's forward pass over the same word pieces;
for scanned pages and a picture it is the text reader on decoded pixels. The figures are medians of all rounds. A
scanned page is a page with text, rendered and stored as a JPEG, so its text layer says which words should be read.
"""

import argparse
import io
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pypdfium2 as pdfium
from PIL import Image
from tokenizers import Tokenizer

from deployments.cancellation import Cancellation
from deployments.embedder.bert import load_bert
from deployments.embedder.embedder import MAX_BATCH_TOKENS, MAX_TOKENS
from deployments.embedder.weights import ensure_minilm
from deployments.indexing.documents import OCR_DPI
from deployments.media import Pixels
from deployments.project import MINIATURES_FILE, project_folder
from deployments.text_reader.models import OcrModels
from deployments.text_reader.reader import TextReader
from deployments.text_reader.weights import model_files
from serve_app.serve_yaml import read_serve_yaml, settings_of
from serve_app.settings import AppConfig

from .search_targets import InProcess

TEXT_PAGES = 48
SCANNED_PAGES = 4
RECORDING_REPEATS = 20
"""How often the sample is in the recording: MP3 files can be joined."""
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Measured:
    """A file to be indexed in each round."""

    name: str
    file: Path
    units: float
    """Pages, pictures or minutes that the file has."""
    unit: str
    floor: Callable[[], float] | None = None
    """Returns how many seconds the parts take alone; called while the library has this file only."""


class Floors:
    """The parts alone, on as many threads as the deployments use."""

    def __init__(self, config: AppConfig, target: InProcess) -> None:
        self._target = target
        folder = ensure_minilm(config.embedder, config.weights.cache_dir, lambda _: None).folder
        self._encoder = load_bert(folder / "config.json", folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._reader = TextReader(OcrModels(model_files(), config.text_reader.threads or 1))

    def text_pages(self, pdf: Path) -> float:
        """Return the seconds of pdfium's text, and of the encoder over all chunks in the library."""
        batches: list[list[list[int]]] = [[]]
        for encoding in self._tokenizer.encode_batch_fast(self._target.texts()):
            if batches[-1] and sum(map(len, batches[-1])) + len(encoding.ids) > MAX_BATCH_TOKENS:
                batches.append([])
            batches[-1].append(encoding.ids)
        start = time.perf_counter()
        with pdfium.PdfDocument(pdf) as document:
            for page in document:
                page.get_textpage().get_text_range()
        for batch in batches:
            self._encoder.encode(batch, lambda: None)
        return time.perf_counter() - start

    def reading(self, pictures: Sequence[Pixels]) -> float:
        """Return the seconds of the text reader on decoded pictures."""
        start = time.perf_counter()
        for pixels in pictures:
            self._reader.read(pixels, Cancellation(float("inf")))
        return time.perf_counter() - start


def repeated_pages(source: Path, target: Path, num_pages: int) -> None:
    """Write a PDF of so many pages: those of another one, again and again."""
    with pdfium.PdfDocument(source) as document, pdfium.PdfDocument.new() as new:
        while len(new) < num_pages:
            new.import_pages(document, range(min(len(document), num_pages - len(new))))
        new.save(target)


def scan(source: Path, target: Path, num_pages: int) -> tuple[list[Pixels], str]:
    """Write a PDF of rendered pages; returns their pixels and the text of their text layer."""
    pictures, texts = [], []
    with pdfium.PdfDocument(source) as document, pdfium.PdfDocument.new() as new:
        for number in range(num_pages):
            page = document[number % len(document)]
            texts.append(page.get_textpage().get_text_range())
            file = io.BytesIO()
            page.render(scale=OCR_DPI / 72).to_pil().convert("RGB").save(file, "JPEG", quality=JPEG_QUALITY)
            pictures.append(np.asarray(Image.open(file).convert("RGB"), np.uint8))
            image = pdfium.PdfImage.new(new)
            image.load_jpeg(file, inline=True)
            image.set_matrix(pdfium.PdfMatrix().scale(*page.get_size()))
            scanned = new.new_page(*page.get_size())
            scanned.insert_obj(image)
            scanned.gen_content()
        new.save(target)
    return pictures, " ".join(texts)


def word_recall(expected: str, read: str) -> float:
    """Return which part of the words of a text was read, each as often as it occurs; case does not matter."""
    wanted, found = (Counter(text.casefold().replace("\u00ad", "").split()) for text in (expected, read))
    return (wanted & found).total() / wanted.total()


def measure(target: InProcess, floors: Floors, files: Sequence[Measured], num_rounds: int) -> None:
    """Index each file in each round, and write a line for each file."""
    _say(f"{'':22} {'indexed':>12} {'floor':>9}   ratio")
    for file in files:
        seconds, floor_seconds = [], []
        for number in range(num_rounds + 1):
            indexed_s = target.seconds_to_index(file.file)
            floor_s = file.floor() if file.floor else 0.0
            target.remove_all()
            if number:  # the first time also loads what is loaded at the first call
                seconds.append(indexed_s)
                floor_seconds.append(floor_s)
        line = f"{file.name:22} {statistics.median(seconds) / file.units:8.3f} s a {file.unit}"
        if file.floor:
            ratio = statistics.median(a / b for a, b in zip(seconds, floor_seconds, strict=True))
            line += f" {statistics.median(floor_seconds) / file.units:9.3f} s {ratio:6.2f}x"
        _say(line)


def main(arguments: Sequence[str] | None = None, prog: str = "python -m benchmarks.search indexing") -> int:
    """Measure, and write a table; returns the exit status."""
    parser = argparse.ArgumentParser(prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    own = project_folder() / "benchmarks/search_files"
    parser.add_argument("--pdf", type=Path, default=own / "observatory.pdf", help="with a text layer")
    parser.add_argument("--picture", type=Path, default=own / "receipt.png", help="with text")
    parser.add_argument("--config", type=Path, default=project_folder() / MINIATURES_FILE, help="models")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    config = settings_of(read_serve_yaml(options.config))
    samples = project_folder() / "samples"
    target = InProcess(config)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            text_pdf, scanned_pdf, recording = (folder / name for name in ("text.pdf", "scanned.pdf", "recording.mp3"))
            repeated_pages(options.pdf, text_pdf, TEXT_PAGES)
            pages, text_layer = scan(options.pdf, scanned_pdf, SCANNED_PAGES)
            recording.write_bytes((samples / "recording.mp3").read_bytes() * RECORDING_REPEATS)
            picture = np.asarray(Image.open(options.picture).convert("RGB"), np.uint8)
            floors = Floors(config, target)
            files = [
                Measured("PDF with text", text_pdf, TEXT_PAGES, "page", lambda: floors.text_pages(text_pdf)),
                Measured("scanned PDF", scanned_pdf, SCANNED_PAGES, "page", lambda: floors.reading(pages)),
                Measured("picture", options.picture, 1, "picture", lambda: floors.reading([picture])),
                Measured("recording", recording, _minutes(recording), "minute"),
                Measured("video", samples / "clip.mp4", _minutes(samples / "clip.mp4"), "minute"),
            ]
            measure(target, floors, files, options.rounds)
            target.seconds_to_index(scanned_pdf)
            _say(f"words of the scanned pages that were read: {word_recall(text_layer, ' '.join(target.texts())):.3f}")
    finally:
        target.close()
    return 0


def _minutes(path: Path) -> float:
    with av.open(str(path)) as container:
        assert container.duration is not None
        return container.duration / av.time_base / 60


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
