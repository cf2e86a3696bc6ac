"""Measurements of Strataflow beside the physical limits of the same databases, in the same run."""
