"""Everything a trained model computes: losses, probabilities, new text and music, filled gaps, labels, translations."""
