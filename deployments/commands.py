"""The commands that messages tell a user to run, from the project's folder."""

FETCH_COMMAND = "python -m deployments.weights fetch"
SERVE_COMMAND = "RAY_USAGE_STATS_ENABLED=0 serve run serve_config.yaml"
MINIATURE_COMMAND = "RAY_USAGE_STATS_ENABLED=0 serve run config/mini.yaml"
RESTORE_MINIATURES_COMMAND = "git checkout -- checkpoints/mini"

MEND = f"Fetch the model again with `{FETCH_COMMAND}`; the miniatures come back with `{RESTORE_MINIATURES_COMMAND}`."
"""What to do about a checkpoint that cannot be loaded."""
