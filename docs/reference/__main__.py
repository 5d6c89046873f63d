"""`python -m docs.reference`: write the generated pages."""

from __future__ import annotations

from docs.reference.pages import FOLDER, PAGES

for name, write in PAGES.items():
    (FOLDER / name).write_text(write(), encoding="utf-8")
