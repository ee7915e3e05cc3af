"""The engine, its backends, pictures and disparity files; needs neither torch nor onnx."""
