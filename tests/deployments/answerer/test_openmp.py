import subprocess
import sys

from deployments.project import project_folder

WITHOUT_THE_SYSTEMS_LIBRARY = """
from deployments.answerer import openmp
openmp.LIBRARY = "libgomp-that-is-missing.so.1"
openmp.load_openmp()
import xllamacpp
with open("/proc/self/maps") as maps:
    print(*sorted({line.split()[-1] for line in maps if "libgomp" in line}))
"""


def test_without_the_systems_openmp_llama_cpp_takes_that_of_torch() -> None:
    command = [sys.executable, "-c", WITHOUT_THE_SYSTEMS_LIBRARY]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=project_folder())
    [library] = run.stdout.split()
    assert library.endswith("/torch/lib/libgomp.so.1")
