"""Pages in Markdown; `docs.reference` writes those that the code itself is the source of."""
