"""A trained model for other programs: ONNX, or a folder in the hub's format, each with its model card."""
