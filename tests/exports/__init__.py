"""Exports are read back by the tools that they are for."""
