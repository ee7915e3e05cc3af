"""The CUDA plugin that computes a ConvNeXt block in one kernel: its source, and how it is used."""
