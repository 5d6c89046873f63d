"""Exactness: masks, labels and scores of real jobs against the stock pipeline, family by family."""
