import subprocess
import sys

from whisper import tokenizer

from deployments.transcriber.languages import LANGUAGES


def test_languages_are_whispers_in_the_same_order() -> None:
    assert tuple(tokenizer.LANGUAGES) == LANGUAGES


def test_light_modules_do_not_import_torch_or_whisper() -> None:
    modules = ", ".join(f"deployments.transcriber.{name}" for name in ("languages", "types", "deployment"))
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'whisper' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
