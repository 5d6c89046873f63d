"""Pages that are written from the code: commands, settings, errors and records.

`python -m docs.reference` writes them; a test fails while one of them is older than the code.
"""
