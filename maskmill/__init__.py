"""Maskmill: an asynchronous batch job queue for image segmentation."""

from maskmill.client import Client, Job, Result
from maskmill.errors import MaskmillError
from maskmill.schema import Segment, Spec
from maskmill.settings import Settings

__all__ = ["Client", "Job", "MaskmillError", "Result", "Segment", "Settings", "Spec"]
