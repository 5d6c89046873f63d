"""The producer: CPU only, light to install: the `maskmill` command and what it starts."""
