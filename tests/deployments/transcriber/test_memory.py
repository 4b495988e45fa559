"""Memory for a long recording, measured in a new process, because only the peak of a whole process is known."""

import subprocess
import sys

TWO_HOURS_S = 7200
WAVEFORM_MB = TWO_HOURS_S * 16_000 * 4 / 1e6

DECODE = """
import math, re, resource
from pathlib import Path
import numpy as np
import psutil
from deployments.transcriber.audio_files import decode_audio
from deployments.cancellation import Cancellation
from tests.deployments.transcriber.sounds import encode, sweep

def peak_mb():
    status = Path("/proc/self/status")
    if not status.exists():  # macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    # On Linux ru_maxrss starts with the memory of the parent process.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) * 1024 / 1e6

def decode(media):
    return len(decode_audio(media, Cancellation(math.inf), 7200).waveform) / 16_000

minute = encode(sweep(60, 8_000)[None], 8_000, "wav", "pcm_mulaw", is_streamed=True)
decode(minute)
two_hours = np.concatenate([minute, np.tile(minute[-60 * 8_000 :], 119)])
before = psutil.Process().memory_info().rss / 1e6
print(decode(two_hours), peak_mb() - before)
"""


def test_decoding_two_hours_takes_the_memory_of_the_waveform_alone() -> None:
    output = subprocess.run([sys.executable, "-c", DECODE], check=True, capture_output=True, text=True).stdout
    duration_s, growth_mb = map(float, output.split())
    assert duration_s == TWO_HOURS_S
    assert 0.9 * WAVEFORM_MB < growth_mb < 1.1 * WAVEFORM_MB
