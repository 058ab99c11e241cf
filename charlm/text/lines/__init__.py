"""From the bytes of files to lines of text."""
