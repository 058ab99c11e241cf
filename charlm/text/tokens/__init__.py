"""From a line to tokens and from tokens to ids, and back."""
