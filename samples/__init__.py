"""Three files to try the server with, and the command that sends files to a server and shows the results.

Imports are relative, because an installed copy has this package as `prism.samples`.
"""
