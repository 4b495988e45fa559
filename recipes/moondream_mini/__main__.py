"""Makes moondream-mini from nothing: `python -m recipes.moondream_mini [--out FOLDER] [--work FOLDER]`.

Draws the scenes, trains, and examines the result through the product's own captioner; about two hours, mostly on
one core. Needs nothing but the packages of requirements.txt. With --work, scenes and the trained vision tower are kept
there and taken up again; with --from, the language part of a checkpoint that this recipe has made is trained on.
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
from recipes.moondream_mini.dataset import prepare_scenes
from recipes.moondream_mini.evaluation import examine
from recipes.moondream_mini.model import GRID, SIDE, fresh_model, sizes
from recipes.moondream_mini.texts import make_tokenizer
from recipes.moondream_mini.training import PatchTeacher, refine_language, train_language, train_vision

OUT = Path(__file__).parents[2] / "checkpoints" / "mini" / "moondream-mini"
SEED = 1
NUM_SCENES = 30_000
VISION_MINUTES, LANGUAGE_MINUTES = 20.0, 100.0
"""Of the processor's time."""


def make(out: Path, work: Path, vision_minutes: float, language_minutes: float, earlier: Path | None) -> None:
    started = time.monotonic()

    def report(progress: str) -> None:
        sys.stdout.write(f"{(time.monotonic() - started) / 60:6.1f} min  {progress}\n")
        sys.stdout.flush()

    def keep(progress: str) -> None:
        save(model, tokenizer, out)
        report(f"saved {progress}")

    scenes = prepare_scenes(work / "scenes.pickle", NUM_SCENES, SIDE, GRID, SEED, processes=2)
    report(f"{len(scenes)} scenes are drawn")
    if earlier:
        weights = [earlier / "model.safetensors"]
        model = load_moondream(earlier / "config.json", weights, "fp32", lambda progress: None)
        tokenizer = read_tokenizer(earlier / "tokenizer.json", model.config)
        refine_language(model, tokenizer, scenes, language_minutes, SEED + 1, report, keep)
        how = f"{language_minutes:g} minutes for the language part with `--from` a checkpoint that it had made"
    else:
        tokenizer = make_tokenizer(SEED)
        model = fresh_model(tokenizer.get_vocab_size(), SEED)
        teacher = PatchTeacher(model.config.vision.enc_dim, SEED)
        tower = work / "vision.pt"
        if not tower.exists():
            train_vision(model, teacher, scenes, vision_minutes, SEED, report)
            torch.save({"vision": model.vision.state_dict(), "teacher": teacher.state_dict()}, tower)
        trained = torch.load(tower)
        model.vision.load_state_dict(trained["vision"])
        teacher.load_state_dict(trained["teacher"])
        train_language(model, teacher, tokenizer, scenes, language_minutes, SEED, report, keep)
        how = f"{vision_minutes:g} minutes for the vision tower, then {language_minutes:g} for all"
    keep("at the end")
    write_card(out, examine(out, report), how)


def save(model: Moondream, tokenizer: Tokenizer, out: Path) -> None:
    """Write `config.json`, `tokenizer.json` and `model.safetensors` (fp16) into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "moondream1", "config": sizes(tokenizer.get_vocab_size())}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tokenizer.save(str(out / "tokenizer.json"))
    save_file(stored_tensors(model, torch.float16), out / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.moondream_mini", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--from", dest="earlier", type=Path, metavar="FOLDER")
    parser.add_argument("--vision-minutes", type=float, default=VISION_MINUTES)
    parser.add_argument("--language-minutes", type=float, default=LANGUAGE_MINUTES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # layers this small gain nothing from a second thread
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        make(arguments.out, work, arguments.vision_minutes, arguments.language_minutes, arguments.earlier)


if __name__ == "__main__":
    main()
