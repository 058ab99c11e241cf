"""From the ids of a corpus to mini-batches."""
