"""What is true of images: COCO panoptic, COCO instances and folders of class-id PNGs."""

from maskmill.scoring.truth.opened import open_truth
from maskmill.scoring.truth.truth import Truth

__all__ = ["Truth", "open_truth"]
