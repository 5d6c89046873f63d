"""From references to tensors, in DataLoader processes."""
