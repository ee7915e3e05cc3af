"""Training on rendered scenes: endless exact ground truth made on the GPU, and the loop around it."""
