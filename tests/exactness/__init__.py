"""Exactness: a job's masks, labels and scores against the stock `image-segmentation` pipeline, family by family."""
