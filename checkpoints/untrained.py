"""Makes the untrained miniatures that `config/mini.yaml` serves: `python -m checkpoints.untrained [FOLDER]`.

They have the real formats and go through the real loader, tokenizer and decode loop, but their weights are random.
"""

import argparse
import sys
from pathlib import Path

from checkpoints.untrained_moondream import write_moondream
from checkpoints.untrained_whisper import write_whisper

DEFAULT_FOLDER = Path(__file__).parent / "mini"
SEED = 3
"""Its captions differ from picture to picture and end after some tens of words."""


def write_untrained(folder: Path) -> None:
    """Write `moondream-untrained/` and `whisper-untrained.pt` into `folder`."""
    write_moondream(folder / "moondream-untrained", SEED)
    write_whisper(folder / "whisper-untrained.pt", SEED)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m checkpoints.untrained", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER)
    folder = parser.parse_args().folder
    write_untrained(folder)
    sys.stdout.write(f"Wrote two untrained checkpoints into {folder}.\n")


if __name__ == "__main__":
    main()
