"""Makes whisper-mini from nothing: `python -m recipes.whisper_mini [--out FOLDER] [--work FOLDER]`.

Has espeak-ng (the Debian package of that name) speak, trains, and examines the result through the product's own
engine; about two hours on one core. With --work, what was spoken is kept there and taken up again;
with --from, training goes on from a checkpoint that this recipe has made.
"""

import argparse
import pickle
import sys
import tempfile
import time
from pathlib import Path

import torch

from recipes.whisper_mini.card import write_card
from recipes.whisper_mini.evaluation import examine
from recipes.whisper_mini.training import train
from recipes.whisper_mini.voices import Utterance, make_utterances

OUT = Path(__file__).parents[2] / "checkpoints" / "mini"
SEED = 0
NUM_UTTERANCES = 7000
"""Of each language."""
MINUTES = 100.0
"""Of the processor's time."""


def make(out: Path, work: Path, minutes: float, earlier: Path | None) -> None:
    started = time.monotonic()

    def report(progress: str) -> None:
        sys.stdout.write(f"{(time.monotonic() - started) / 60:6.1f} min  {progress}\n")
        sys.stdout.flush()

    utterances = _prepare_utterances(work / "utterances.pickle")
    report(f"{len(utterances)} sentences are spoken")
    checkpoint = out / "whisper-mini.pt"
    num_steps = train(utterances, checkpoint, SEED, minutes, report, earlier)
    examination = examine(checkpoint, {utterance.text for utterance in utterances}, report)
    write_card(checkpoint, examination, SEED, len(utterances), num_steps, minutes, goes_on=earlier is not None)


def _prepare_utterances(path: Path) -> list[Utterance]:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(make_utterances(NUM_UTTERANCES, SEED, num_workers=1)))
    utterances: list[Utterance] = pickle.loads(path.read_bytes())
    return utterances


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.whisper_mini", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--from", dest="earlier", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of training, in processor time")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # layers this small gain nothing from a second thread
    with tempfile.TemporaryDirectory() as temporary:
        make(arguments.out, arguments.work or Path(temporary), arguments.minutes, arguments.earlier)


if __name__ == "__main__":
    main()
