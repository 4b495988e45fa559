"""Answers a question from passages of the library, with citations that have been checked."""
