"""Bytes of files to lines of text."""
