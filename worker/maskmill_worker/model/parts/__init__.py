"""A model's own parts in a faster form, in a copy that shares its weights; each form is in a module of its own."""

from maskmill_worker.model.parts.changes import faster, is_own

__all__ = ["faster", "is_own"]
