"""The commands that work on a library: most call the running server over HTTP, some work on its folder."""
