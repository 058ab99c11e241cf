"""Files that are written whole or not at all, by one writer at a time: atomic files, locks, the container."""
