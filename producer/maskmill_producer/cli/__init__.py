"""The `maskmill` command."""
