"""A job that has ended as a dataset: its images, each with its segment map and segments, and its categories."""
