"""Reads the text in pictures and scanned pages (OCR), line by line with boxes."""
