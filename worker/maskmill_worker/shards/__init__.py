"""The flow of a shard: claimed, segmented, stored, committed."""
