"""The made job that the other tests of exports have."""

from tests.exports.conftest import images, job

__all__ = ["images", "job"]
