"""The model tests with other versions of transformers."""
