"""Control groups as the test says, in files of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from maskmill import control_groups


def in_group(monkeypatch: pytest.MonkeyPatch, folder: Path, own: str, files: Mapping[str, str]) -> None:
    """Make this process one of a group: `in_group(…, "/app", {"/cpu.max": "max 100000", "/app/cpu.max": "…"})`."""
    (folder / "own").write_text(f"1:cpu:/of/version/1\n0::{own}\n")
    monkeypatch.setattr(control_groups, "GROUPS", folder / "groups")
    monkeypatch.setattr(control_groups, "OWN_GROUP", folder / "own")
    for name, text in files.items():
        path = folder / "groups" / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
