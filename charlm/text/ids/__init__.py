"""A corpus as ids, in memory or on the disk."""
