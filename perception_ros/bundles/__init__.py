"""The model on disk: manifest, integrity, and import of foreign ONNX."""
