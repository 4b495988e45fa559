"""Reads documents: the pages of a PDF with the boxes of their lines, and the paragraphs of the other formats."""
