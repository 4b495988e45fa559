import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from whisper.timing import dtw_cpu
from deployments.transcriber.decoding import compile_word_timestamps
compile_word_timestamps()
hits, misses = sum(dtw_cpu.stats.cache_hits.values()), sum(dtw_cpu.stats.cache_misses.values())
print(hits, misses, dtw_cpu._cache._cache_file._index_path)
"""


def _compile(folder: Path) -> list[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


@pytest.mark.slow
def test_the_word_timestamp_kernel_is_compiled_only_once(tmp_path: Path) -> None:
    *hits_and_misses, index = _compile(tmp_path)
    assert hits_and_misses == ["0", "1"]
    assert Path(index).is_relative_to(tmp_path)
    assert _compile(tmp_path) == ["1", "0", index]
    Path(index).write_bytes(b"")  # as after a power failure
    assert _compile(tmp_path) == ["0", "1", index]
