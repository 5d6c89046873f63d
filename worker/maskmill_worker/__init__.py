"""The worker: one process for one device; the only package that knows torch and transformers."""
