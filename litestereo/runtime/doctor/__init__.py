"""What is wrong with a machine or a pair, each finding with its number and its fix."""
