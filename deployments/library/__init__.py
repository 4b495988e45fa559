"""The library: files, their text in chunks, vectors, jobs and history, in one folder that one process owns."""
