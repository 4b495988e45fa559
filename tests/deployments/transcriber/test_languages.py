import subprocess
import sys

from whisper import tokenizer

from deployments.transcriber.languages import LANGUAGES


def test_the_languages_are_those_of_whisper_in_its_order() -> None:
    assert tuple(tokenizer.LANGUAGES) == LANGUAGES


def test_languages_types_and_deployment_come_without_torch() -> None:
    modules = ", ".join(f"deployments.transcriber.{name}" for name in ("languages", "types", "deployment"))
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'whisper' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
