"""Random models and random command lines, each a function of its number."""
