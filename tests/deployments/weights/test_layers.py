import ast
from pathlib import Path

import pytest

from deployments import weights

MODULES = sorted(Path(weights.__file__).parent.glob("*.py"))
ALLOWED = ("commands", "errors", "inference.cpu", "log", "model_loader", "settings", "weights")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_what_all_checkpoints_share_imports_no_capability_and_nothing_above(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    imported = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    ours = [name for name in imported if name.startswith(("deployments", "serve_app", "prism", "recipes", "samples"))]
    assert all(name.startswith(tuple(f"deployments.{module}" for module in ALLOWED)) for name in ours), ours
