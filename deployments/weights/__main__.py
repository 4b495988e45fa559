"""Commands for the models' files, as `python -m deployments.weights COMMAND`.

`fetch` brings them here, `verify` checks them and the machine, `shrink` replaces the captioner's weights by their int8
copy, which is all that serving in int8 needs.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import psutil
import yaml
from filelock import Timeout
from pydantic import ValidationError
from tqdm import tqdm

from deployments.commands import FETCH_COMMAND
from deployments.errors import ModelNotLoaded
from deployments.weights.checkpoints import (
    KnownCheckpoint,
    ensure_moondream,
    ensure_whisper,
    known_moondream,
    known_whisper,
)
from deployments.weights.download import DownloadFailed, format_bytes
from deployments.weights.machine import Finding, check_cpu, check_memory, needed_bytes
from serve_app.settings import AppConfig


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status: 0 when all is well, 1 when not, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="python -m deployments.weights", description=__doc__)
    parser.add_argument("command", choices=("fetch", "verify", "shrink"))
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--captioner", action="store_true", help="only the captioner's model")
    which.add_argument("--transcriber", action="store_true", help="only the transcriber's model")
    parser.add_argument("--config", type=Path, help="a Serve YAML, for its args; default: environment and .env")
    options = parser.parse_args(arguments)
    if options.command == "shrink" and options.transcriber:
        parser.error("shrink is for the captioner's weights")
    models = ["captioner"] * (not options.transcriber) + ["transcriber"] * (not options.captioner)
    try:
        config = read_config(options.config)
        if options.command == "shrink":
            return shrink(config)
        return fetch(config, models) if options.command == "fetch" else verify(config, models)
    except DownloadFailed as error:
        sys.stderr.write(f"{error} The same command goes on where this one stopped.\n")
        return 1
    except (ModelNotLoaded, InvalidConfig, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        kept = f" What has arrived is kept; `{FETCH_COMMAND}` goes on from there." if options.command == "fetch" else ""
        sys.stderr.write(f"\nInterrupted.{kept}\n")
        return 130


class InvalidConfig(Exception):
    """The settings cannot be used; the message says which."""


def read_config(path: Path | None) -> AppConfig:
    """Return the settings as the server would read them; raises InvalidConfig."""
    try:
        applications = yaml.safe_load(path.read_text())["applications"] if path else [{}]
        return AppConfig.model_validate(applications[0].get("args") or {})
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise InvalidConfig(f"{path} cannot be read as a Serve YAML: {error}") from error
    except ValidationError as error:
        lines = [f"{'.'.join(str(key) for key in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        raise InvalidConfig("The settings are wrong. " + "; ".join(lines)) from error


def fetch(config: AppConfig, models: list[str]) -> int:
    """Fetch what is missing or damaged of the chosen models; raises DownloadFailed or ModelNotLoaded."""
    for model in models:
        known = _known(config, model)
        if known is None:
            _require_miniature(config, model)
            _say(f"{model}: a checkpoint of your own, nothing to fetch.")
            continue
        _say(f"{model}: {known.name}, in {known.folder}")
        with _Bar() as bar:
            known.fetch(_say_indented, bar.show)
        mismatch = _precision_mismatch(config, model, known)
        if mismatch:
            raise ModelNotLoaded(mismatch)
        _say_indented("complete, checksums right")
    _say("All is here; serving needs no network any more.")
    return 0


def verify(config: AppConfig, models: list[str]) -> int:
    """Say what is right and wrong with the files of the chosen models and with the machine, without any request."""
    findings = [finding for model in models for finding in _check_files(config, model)]
    memory = psutil.virtual_memory()
    findings.append(check_memory(needed_bytes(config), memory.total, memory.available))

    import torch  # here and not above: it takes seconds, which fetch need not wait for

    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    findings += check_cpu(torch.cpu.get_capabilities(), cores, config.captioner.precision)
    for finding in findings:
        _say(f"{'ok   ' if finding.is_fine else 'WRONG'}  {finding.sentence}")
    is_fine = all(finding.is_fine for finding in findings)
    _say("This machine is ready." if is_fine else "This machine is not ready; see the lines marked WRONG.")
    return 0 if is_fine else 1


def shrink(config: AppConfig) -> int:
    """Round the captioner's weights to int8 and delete what they were rounded from; makes no request."""
    known = known_moondream(config.captioner.model, config.weights.cache_dir)
    if known is None:
        _require_miniature(config, "captioner")
        _say("captioner: a checkpoint of your own, nothing to shrink.")
        return 0
    if config.captioner.precision != "int8":
        sys.stderr.write(
            f"captioner.precision is {config.captioner.precision}, which needs the full weights: nothing was deleted.\n"
        )
        return 1

    def round_weights(rounded: Path) -> None:
        # Here and not above: torch takes seconds.
        from deployments.captioner.checkpoint import load_int8, load_moondream

        files = ensure_moondream(config.captioner.model, config.weights.cache_dir, _say_indented)
        try:
            load_moondream(files.config, files.weights, "int8", _say_indented, keep_int8=rounded)
        except Timeout as error:
            raise ModelNotLoaded(
                "A server is rounding these weights just now. Wait until it has started, or stop it; then try again."
            ) from error
        load_int8(files.config, rounded, _say_indented)

    freed = known.keep_only_int8(round_weights, _say_indented)
    _say(
        f"captioner: only the int8 weights of {known.name} are left, in {known.folder}; {format_bytes(freed)} are free "
        "again. For captioner.precision bf16 or fp32 delete that folder and fetch the model again."
    )
    return 0


def _check_files(config: AppConfig, model: str) -> list[Finding]:
    known = _known(config, model)
    if known is None:
        try:
            _require_miniature(config, model)
        except ModelNotLoaded as error:
            return [Finding(False, str(error))]
        return [Finding(True, f"The {model}'s checkpoint is there. It is one of your own: no checksums are known.")]
    damage = known.damage(lambda line: None)
    mismatch = _precision_mismatch(config, model, known)
    if mismatch:
        return [Finding(False, mismatch)]
    if damage:
        return [Finding(False, f"{sentence} Mend it with `{FETCH_COMMAND}`.") for sentence in damage]
    return [Finding(True, f"{known.name} is complete and its checksums are right, in {known.folder}.")]


def _precision_mismatch(config: AppConfig, model: str, known: KnownCheckpoint) -> str | None:
    precision = config.captioner.precision
    if model != "captioner" or precision == "int8" or not known.is_rounded:
        return None
    return (
        f"Only the int8 weights are in {known.folder}, but captioner.precision is {precision}. Set it to int8, or "
        f"delete that folder and fetch the model again with `{FETCH_COMMAND}`."
    )


def _known(config: AppConfig, model: str) -> KnownCheckpoint | None:
    if model == "captioner":
        return known_moondream(config.captioner.model, config.weights.cache_dir)
    return known_whisper(config.transcriber.model, config.weights.cache_dir)


def _require_miniature(config: AppConfig, model: str) -> None:
    if model == "captioner":
        ensure_moondream(config.captioner.model, config.weights.cache_dir, _say)
    else:
        ensure_whisper(config.transcriber.model, config.weights.cache_dir, _say)


class _Bar:
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

    def __enter__(self) -> "_Bar":
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


if __name__ == "__main__":
    sys.exit(main())
