"""Scores and comparisons of made jobs, in real servers."""
