"""Who works on what, and what is done: claims, leases and counters in Redis, changed by atomic scripts."""
