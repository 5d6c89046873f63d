"""From tensors to segments: the model, its fast paths, batches."""
