"""The command `prism weights`: fetches, verifies or shrinks the files of the models."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from tqdm import tqdm

from deployments.commands import FETCH_COMMAND
from deployments.errors import ModelNotLoaded
from deployments.weights.checkpoint import ModelCheckpoint
from deployments.weights.download import DownloadFailed, format_bytes
from deployments.weights.machine import Finding, check_cpu, check_memory, needed_bytes
from serve_app.graph import GRAPH, Node
from serve_app.serve_yaml import InvalidServeYaml, read_serve_yaml, settings_of, validate_settings
from serve_app.settings import AppConfig

DESCRIPTIONS = {
    "fetch": "Downloads the models' files that are missing or damaged. An interrupted download is resumed. Sizes and "
    "free disk space are shown and checked first; every file is verified by its checksum.",
    "verify": "Checks the models' files by their checksums, and the memory and CPU of this machine. Makes no request.",
    "shrink": "Replaces full weights by their quantized copy, which takes half the disk space and is all that serving "
    "in int8 needs. Makes no request.",
}
INTERRUPTED = 130
"""The exit status of a shell command that SIGINT ended: 128 + 2."""


def main(arguments: Sequence[str] | None = None, prog: str = "prism weights") -> int:
    """Run one command; returns the exit status: 0 for success, 1 for failure, 130 when interrupted."""
    parser = _parser(prog)
    options = parser.parse_args(arguments)
    try:
        models = describe_models(_settings(options.config))
        chosen = [model for model in models if options.capability in (None, model.capability)]
        if options.command == "fetch":
            return fetch(chosen)
        if options.command == "verify":
            return verify(chosen, models)
        quantizable = [model for model in chosen if model.quantization is not None]
        if not quantizable:
            parser.error(f"the {options.capability} has no quantized copy that could replace its weights")
        return max(shrink(model) for model in quantizable)
    except DownloadFailed as error:
        sys.stderr.write(f"{error} The same command continues where this one stopped.\n")
        return 1
    except (ModelNotLoaded, InvalidServeYaml, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        kept = f" What has arrived is kept; `{FETCH_COMMAND}` continues from there."
        advice = kept if options.command == "fetch" else ""
        sys.stderr.write(f"\nInterrupted.{advice}\n")
        return INTERRUPTED


def describe_models(config: AppConfig, nodes: Sequence[Node[Any]] = GRAPH) -> list[ModelCheckpoint]:
    """Return the checkpoint of every model of the deployments, in the order of the graph's nodes.

    The package of each model has a module `weights` with a function `describe`.
    """
    models = []
    for node in nodes:
        for section, package in node.model_packages.items():
            module = importlib.import_module(f"{package}.weights")
            model: ModelCheckpoint = module.describe(getattr(config, section), config.weights)
            models.append(model)
    return models


def fetch(models: list[ModelCheckpoint]) -> int:
    """Fetch what is missing or damaged; raises DownloadFailed or ModelNotLoaded."""
    for model in models:
        _say(f"{model.capability}: {model.label}")
        if model.official is None:
            model.require_files()
            _say_indented("nothing to fetch")
            continue
        with _ProgressBar() as bar:
            model.official.fetch(_say_indented, bar.show)
        mismatch = model.precision_mismatch()
        if mismatch:
            raise ModelNotLoaded(mismatch)
        _say_indented("complete, all checksums are right")
    _say("Everything is here; serving needs no network.")
    return 0


def verify(chosen: list[ModelCheckpoint], models: list[ModelCheckpoint]) -> int:
    """Report on the files of the `chosen` models, and on whether this machine can serve all `models`."""
    findings = [finding for model in chosen for finding in _check_files(model)]
    memory = psutil.virtual_memory()
    settings = [model.memory_setting for model in models]
    findings.append(check_memory(needed_bytes(models), memory.total, memory.available, settings))

    import torch  # here, because it takes seconds and the other commands do not need it

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    findings += check_cpu(torch.cpu.get_capabilities(), cores, {model.precision for model in models})
    for finding in findings:
        _say(f"{'ok   ' if finding.is_ok else 'WRONG'}  {finding.sentence}")
    is_ready = all(finding.is_ok for finding in findings)
    _say("This machine is ready." if is_ready else "This machine is not ready; see the lines marked WRONG.")
    return 0 if is_ready else 1


def shrink(model: ModelCheckpoint) -> int:
    """Replace a model's full weights by their quantized copy; raises ModelNotLoaded."""
    official, quantization = model.official, model.quantization
    if official is None or quantization is None:
        model.require_files()
        _say(f"{model.capability}: {model.label}; nothing to shrink.")
        return 0
    if model.precision != quantization.precision:
        sys.stderr.write(
            f"{model.capability}.precision is {model.precision}, which needs the full weights: nothing was deleted.\n"
        )
        return 1
    freed = official.keep_only_quantized(lambda path: quantization.write_copy(path, _say_indented), _say_indented)
    _say(
        f"{model.capability}: only the {quantization.precision} weights of {official.name} are left, in "
        f"{official.folder}; {format_bytes(freed)} were freed. For another {model.capability}.precision, delete that "
        f"folder and fetch the model again."
    )
    return 0


def _check_files(model: ModelCheckpoint) -> list[Finding]:
    if model.official is None:
        try:
            model.require_files()
        except ModelNotLoaded as error:
            return [Finding(False, str(error))]
        if model.external is not None:
            return [Finding(True, f"The {model.capability} uses {model.external}.")]
        if model.package is not None:
            return [Finding(True, f"{model.label}, is complete and its checksums are right.")]
        remark = "" if model.settings.is_miniature else " It has no checksums to compare with."
        return [Finding(True, f"The {model.capability} uses {model.label}. All its files are there.{remark}")]
    damage = model.official.find_damage(lambda line: None)
    mismatch = model.precision_mismatch()
    if mismatch:
        return [Finding(False, mismatch)]
    if damage:
        return [Finding(False, f"{sentence} Fix it with `{FETCH_COMMAND}`.") for sentence in damage]
    return [
        Finding(True, f"{model.official.name} is complete and its checksums are right, in {model.official.folder}.")
    ]


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog, description="Fetches, verifies or shrinks the files of the models.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, description in DESCRIPTIONS.items():
        command = commands.add_parser(name, help=description.partition(".")[0], description=description)
        capability_options = command.add_mutually_exclusive_group()
        for capability in [section for node in GRAPH for section in node.model_packages]:
            capability_options.add_argument(
                f"--{capability}",
                dest="capability",
                action="store_const",
                const=capability,
                help=f"only the {capability}'s model",
            )
        command.add_argument(
            "--config",
            type=Path,
            metavar="FILE",
            help="a Serve YAML whose `args:` choose the models and the cache folder; default: environment and .env",
        )
    return parser


def _settings(path: Path | None) -> AppConfig:
    return validate_settings({}) if path is None else settings_of(read_serve_yaml(path))


class _ProgressBar:
    """A progress bar for one file at a time."""

    def __init__(self) -> None:
        self._name = ""
        self._bar: tqdm[Any] | None = None

    def show(self, name: str, done: int, size: int) -> None:
        if self._bar is None or name != self._name:
            self._close()
            self._name = name
            bar: tqdm[Any] = tqdm(desc=f"  {name}", total=size, initial=done, unit="B", unit_scale=True)
            self._bar = bar
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> "_ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stdout)


def _say_indented(line: str) -> None:
    _say(f"  {line}")
