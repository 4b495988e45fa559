"""How fast and how large the models are, as ratios against a reference measured in the same run."""
