"""Drives each file of the library through the deployments that read it, and stores its text in chunks."""
