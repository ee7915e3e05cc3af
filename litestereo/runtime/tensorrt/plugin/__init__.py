"""CUDA plugins that compute whole parts of a network: their source, and how they are used."""
