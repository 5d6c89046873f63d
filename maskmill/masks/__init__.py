"""Segment maps and the PNG files that hold them."""
