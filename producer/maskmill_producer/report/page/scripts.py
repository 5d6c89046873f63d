"""Data as scripts: what a page may read from disk, where `fetch` is refused (`file://` in Chromium).

Each file calls one method of the page's `maskmill` object: `maskmill.index({...});`.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_script(path: Path, method: str, *arguments: Any) -> None:
    """Write a file that hands these values to the page: `write_script(path, "rows", 17, [...])`."""
    path.write_text(f"maskmill.{method}({', '.join(map(in_script, arguments))});\n", encoding="ascii")


def read_script(path: Path) -> list[Any]:
    """The values that `write_script` has put into a file."""
    found: list[Any] = json.loads(f"[{path.read_text(encoding='ascii').partition('(')[2].rstrip().removesuffix(');')}]")
    return found


def in_script(value: Any) -> str:
    r"""JSON that a script may hold anywhere: `</script>` becomes `\u003c/script>`, and all else than ASCII `\u…`."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def packed(values: NDArray[np.integer]) -> str:
    """The bytes of an array, little-endian, as base64: a typed array of the page."""
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode("ascii")
