"""Objects below an output prefix: their names and how they are put, got and listed."""
