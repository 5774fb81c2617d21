"""ONNX exporter."""
