"""Models of other programs: ONNX files and torch.nn's arrays, written and read back."""
