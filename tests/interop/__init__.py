"""Exports are read by tools that are too heavy for everybody's environment: `make interop`."""
