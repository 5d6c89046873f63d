"""A job over Pillow's own test images and a grid of TIFFs: every image right, by another reader, or refused.

    python -m tests.pixels [--seed 1] [--grid 472]

Pillow's images come with its source distribution, which pip fetches. Ends with 1 if an image is wrong, has no outcome,
or ended otherwise than with a mask or a refusal.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from maskmill.images.decode import decode
from maskmill.settings import Settings
from tests.pixels.readers import Reading, reading
from tests.unit.test_tiff_grid import is_right
from tests.unit.tiff_grid import SIZE, Tiff, grid

REFUSALS = {"unsupported", "not_an_image", "truncated", "decompression_bomb"}


def pillow_images(folder: Path) -> list[Path]:
    """The test images of the Pillow that is installed."""
    wanted = f"pillow=={version('pillow')}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "pillow", wanted]
    subprocess.run([*pip, "--dest", str(folder)], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        members = [each for each in files if "/Tests/images/" in each.name and each.isfile()]
        files.extractall(folder, members, filter="data")
    return sorted(folder / each.name for each in members)


def grid_files(folder: Path, size: int, seed: int) -> dict[Path, Tiff]:
    """The grid as files."""
    folder.mkdir()
    found = {folder / f"{case}.tif": (case, data) for case, data in grid(size, seed)}
    for path, (_, data) in found.items():
        path.write_bytes(data)
    return {path: case for path, (case, _) in found.items()}


def run_job(paths: list[Path], folder: Path) -> dict[str, dict[str, object]]:
    """What became of each image, by its path, in a job with the demo model."""
    listed = folder / "images.txt"
    listed.write_text("".join(f"{path}\n" for path in paths))
    command = [Path(sys.executable).parent / "maskmill", "run", listed, "--model", "demo", "--out", folder / "out"]
    subprocess.run(command, check=False, env=os.environ | {"MASKMILL_STATE_DIR": str(folder / "state")})
    lines = [line for name in ("metadata", "failures") for line in _lines(folder / "out" / f"{name}.jsonl")]
    return {outcome["uri"]: outcome for outcome in map(json.loads, lines)}


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def verdict(path: Path, outcome: dict[str, object] | None, case: Tiff | None) -> tuple[str, str]:
    """Whether the image ended as it should, in a word, and why not."""
    if outcome is None:
        return "wrong", "no outcome"
    if outcome["status"] == "failed":
        refused = outcome["code"] in REFUSALS and not (case and case.readable)
        return "refused" if refused else "wrong", f"{outcome['code']}: {outcome['reason']}"
    picture = decode(path.read_bytes(), max_pixels=Settings().max_image_pixels)
    if (outcome["width"], outcome["height"]) != picture.image.size:
        return "wrong", "of another size than what is decoded here"
    if case is not None:
        right = is_right(np.asarray(picture.image), case)
        return ("right", "what was written") if right else ("wrong", "other pixels than were written")
    found = reading(path, picture)
    return ("wrong" if found is Reading.DIFFERS else "right"), found.value


def main() -> int:
    """Print a line for each image that is wrong, and how many are right, by which reader, or refused."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--grid", type=int, default=SIZE)
    given = options.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        cases = grid_files(folder / "grid", given.grid, given.seed)
        paths = [*pillow_images(folder), *cases]
        outcomes = run_job(paths, folder)
        found = {path: verdict(path, outcomes.get(str(path)), cases.get(path)) for path in paths}
    for path, (word, reason) in found.items():
        if word == "wrong":
            print(f"WRONG {path.relative_to(folder)}: {reason}")
    by = Counter(f"right, by {reason}" if word == "right" else word for word, reason in found.values())
    print("\n".join(f"{number:6,} {word}" for word, number in by.most_common()))
    return int(any(word == "wrong" for word, _ in found.values()))


if __name__ == "__main__":
    sys.exit(main())
