"""From disparity to metres: calibrations, rectification, depth, validity and point clouds."""
