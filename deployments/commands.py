"""The commands that messages recommend."""

FETCH_COMMAND = "prism weights fetch"
VERIFY_COMMAND = "prism weights verify"
SERVE_COMMAND = "prism serve"
SERVE_MINIATURES_COMMAND = "prism serve --mini"
RESTORE_MINIATURES_COMMAND = "git checkout -- checkpoints/mini"

RESTORE_ADVICE = (
    f"Fetch the model again with `{FETCH_COMMAND}`; `{RESTORE_MINIATURES_COMMAND}` (or installing again) restores the "
    "miniatures."
)
"""What to do about a checkpoint that cannot be loaded."""
