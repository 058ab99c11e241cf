"""What a trained model can be asked: losses, probabilities, new text, labels, translations."""
