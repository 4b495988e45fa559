"""Trains whisper-mini from scratch: `python -m recipes.whisper_mini [--out FOLDER] [--work FOLDER]`.

Synthesizes the dataset with espeak-ng (the Debian package of that name), trains the model, and evaluates it with the
product's own engine. This takes about two hours on one core.
"""

import argparse
import pickle
import sys
import tempfile
import time
from pathlib import Path

import torch

from recipes.whisper_mini.card import write_card
from recipes.whisper_mini.evaluation import evaluate
from recipes.whisper_mini.training import train
from recipes.whisper_mini.voices import Utterance, synthesize_utterances

OUT = Path(__file__).parents[2] / "checkpoints" / "mini"
SEED = 0
NUM_UTTERANCES = 7000
"""In each language."""
MINUTES = 100.0
"""CPU time for training."""


def make_checkpoint(out: Path, work: Path, minutes: float, base_checkpoint: Path | None) -> None:
    """Write the checkpoint and its card to `out`; the dataset is saved in `work`, or reused if it is there."""
    started = time.monotonic()

    def report(line: str) -> None:
        sys.stdout.write(f"{(time.monotonic() - started) / 60:6.1f} min  {line}\n")
        sys.stdout.flush()

    utterances = _load_or_synthesize(work / "utterances.pickle")
    report(f"{len(utterances)} sentences synthesized")
    checkpoint = out / "whisper-mini.pt"
    num_steps = train(utterances, checkpoint, SEED, minutes, report, base_checkpoint)
    evaluation = evaluate(checkpoint, {utterance.text for utterance in utterances}, report)
    write_card(
        checkpoint, evaluation, SEED, len(utterances), num_steps, minutes, is_fine_tuned=base_checkpoint is not None
    )


def _load_or_synthesize(path: Path) -> list[Utterance]:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(synthesize_utterances(NUM_UTTERANCES, SEED, num_workers=1)))
    utterances: list[Utterance] = pickle.loads(path.read_bytes())
    return utterances


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.whisper_mini", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=OUT, help="for the checkpoint and its card")
    parser.add_argument(
        "--work", type=Path, metavar="FOLDER", help="save the dataset here, and reuse it in the next run"
    )
    parser.add_argument(
        "--from",
        dest="base_checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="continue training from an earlier checkpoint of this recipe",
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="CPU time for training (%(default)g)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # layers as small as these are not faster with a second thread
    with tempfile.TemporaryDirectory() as temporary:
        make_checkpoint(arguments.out, arguments.work or Path(temporary), arguments.minutes, arguments.base_checkpoint)


if __name__ == "__main__":
    main()
