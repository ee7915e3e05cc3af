"""TensorRT 8.6, 10 and 11: build engines from artefacts, cache them, run them.

`tensorrt` is imported inside functions only, after the CUDA driver has been found. Functions take
the module as their argument `trt`, so that TensorRT's siblings and tests can stand in for it.
"""
