"""The demo: synthetic panoptic scenes, the small model trained on them, and sample images."""
