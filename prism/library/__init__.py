"""The commands that work on a library: they speak HTTP to the running server."""
