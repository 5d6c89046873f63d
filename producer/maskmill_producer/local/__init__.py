"""Whole jobs on this machine: `maskmill run` and `maskmill bench`."""
