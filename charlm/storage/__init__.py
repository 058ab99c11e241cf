"""Files on the disk: atomic writes, one writer at a time, and the container format of models."""
