"""Training on rendered scenes: endless exact ground truth, and the loop around it."""
