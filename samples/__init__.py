"""Three files to try the server with, and the program that sends files to a server and shows the answers.

Imports are relative, because an installed copy has this package as `prism.samples`.
"""
