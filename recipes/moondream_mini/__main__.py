"""Trains moondream-mini from scratch: `python -m recipes.moondream_mini [--out FOLDER] [--work FOLDER]`.

Draws the dataset, trains the model, and evaluates it with the product's own captioner. This takes about two hours,
mostly on one core, and needs only the packages of requirements.txt.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from deployments.captioner.checkpoint import stored_tensors
from deployments.captioner.loading import load_moondream
from deployments.captioner.moondream import Moondream
from deployments.captioner.prompts import read_tokenizer
from recipes.moondream_mini.card import write_card
from recipes.moondream_mini.dataset import load_or_draw_scenes
from recipes.moondream_mini.evaluation import evaluate
from recipes.moondream_mini.model import GRID, SIDE, initialize_model, model_config
from recipes.moondream_mini.sequences import make_tokenizer
from recipes.moondream_mini.training import PatchClassifier, fine_tune_language, train_language, train_vision

OUT = Path(__file__).parents[2] / "checkpoints" / "mini" / "moondream-mini"
SEED = 1
NUM_SCENES = 30_000
VISION_MINUTES, LANGUAGE_MINUTES = 20.0, 100.0
"""CPU time."""


def make(out: Path, work: Path, vision_minutes: float, language_minutes: float, base_checkpoint: Path | None) -> None:
    """Make the checkpoint and its card in `out`; `work` keeps the dataset and the trained vision encoder."""
    started = time.monotonic()

    def report(line: str) -> None:
        sys.stdout.write(f"{(time.monotonic() - started) / 60:6.1f} min  {line}\n")
        sys.stdout.flush()

    def save(when: str) -> None:
        write_checkpoint(model, tokenizer, out)
        report(f"checkpoint saved {when}")

    scenes = load_or_draw_scenes(work / "scenes.pickle", NUM_SCENES, SIDE, GRID, SEED, num_workers=2)
    report(f"{len(scenes)} scenes drawn")
    if base_checkpoint:
        weights = [base_checkpoint / "model.safetensors"]
        model = load_moondream(base_checkpoint / "config.json", weights, "fp32", lambda progress: None)
        tokenizer = read_tokenizer(base_checkpoint / "tokenizer.json", model.config)
        fine_tune_language(model, tokenizer, scenes, language_minutes, SEED + 1, report, save)
        history = f"{language_minutes:g} minutes of fine-tuning the language model, with `--from` an earlier checkpoint"
    else:
        tokenizer = make_tokenizer(SEED)
        model = initialize_model(tokenizer.get_vocab_size(), SEED)
        classifier = PatchClassifier(model.config.vision.enc_dim, SEED)
        vision_checkpoint = work / "vision.pt"
        if not vision_checkpoint.exists():
            train_vision(model, classifier, scenes, vision_minutes, SEED, report)
            torch.save({"vision": model.vision.state_dict(), "classifier": classifier.state_dict()}, vision_checkpoint)
        trained = torch.load(vision_checkpoint)
        model.vision.load_state_dict(trained["vision"])
        classifier.load_state_dict(trained["classifier"])
        train_language(model, classifier, tokenizer, scenes, language_minutes, SEED, report, save)
        history = f"{vision_minutes:g} minutes for the vision encoder, then {language_minutes:g} for the whole model"
    save("at the end")
    write_card(out, evaluate(out, report), history)


def write_checkpoint(model: Moondream, tokenizer: Tokenizer, out: Path) -> None:
    """Write `config.json`, `tokenizer.json` and `model.safetensors` (fp16) into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "moondream1", "config": model_config(tokenizer.get_vocab_size())}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tokenizer.save(str(out / "tokenizer.json"))
    save_file(stored_tensors(model, torch.float16), out / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.moondream_mini", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=OUT, help="for the checkpoint and its card")
    parser.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help="save the dataset and the trained vision encoder here, and reuse them in the next run",
    )
    parser.add_argument(
        "--from",
        dest="base_checkpoint",
        type=Path,
        metavar="FOLDER",
        help="only fine-tune the language model of this checkpoint, which the recipe has made before",
    )
    parser.add_argument(
        "--vision-minutes", type=float, default=VISION_MINUTES, help="CPU time for the vision encoder (%(default)g)"
    )
    parser.add_argument(
        "--language-minutes", type=float, default=LANGUAGE_MINUTES, help="CPU time for the rest (%(default)g)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # layers this small gain nothing from a second thread
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        make(arguments.out, work, arguments.vision_minutes, arguments.language_minutes, arguments.base_checkpoint)


if __name__ == "__main__":
    main()
