"""Hostile inputs: files and bodies made to do harm, and fuzzing of everything that reads untrusted bytes.

python -m tests.hostile         sends the corpus to a server, beside a client that must always be served
python -m tests.hostile.fuzz    mutates valid files, and decodes them as the replicas do
"""
