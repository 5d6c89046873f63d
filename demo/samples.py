"""Write the sample images: named scenes of several sizes, from seeds that no training or test uses, chosen by hand.

python -m demo.samples --out demo/samples
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from demo.scenes import SAMPLE_SEEDS, generate_scene

JPEG_QUALITY = 92


class Sample(NamedTuple):
    """A sample image: file name, place of its seed in SAMPLE_SEEDS, width and height in pixels."""

    name: str
    place: int
    size: tuple[int, int]


SAMPLES: tuple[Sample, ...] = (
    Sample("meadow-01.jpg", 124, (480, 360)),
    Sample("meadow-02.jpg", 3, (480, 360)),
    Sample("meadow-03.jpg", 35, (640, 480)),
    Sample("beach-01.jpg", 64, (640, 480)),
    Sample("beach-02.jpg", 29, (640, 480)),
    Sample("dunes-01.jpg", 48, (640, 360)),
    Sample("dunes-02.jpg", 57, (640, 360)),
    Sample("lake-01.jpg", 6, (480, 480)),
    Sample("lake-02.jpg", 85, (480, 480)),
    Sample("lawn-01.png", 14, (320, 320)),
    Sample("lawn-02.png", 37, (320, 320)),
    Sample("oasis-01.jpg", 43, (640, 400)),
    Sample("riverbank-01.jpg", 47, (360, 480)),
    Sample("riverbank-02.jpg", 83, (360, 480)),
    Sample("sea-01.jpg", 114, (400, 300)),
    Sample("sea-02.jpg", 17, (400, 300)),
    Sample("shore-01.jpg", 127, (480, 640)),
    Sample("desert-01.png", 39, (256, 192)),
)


def write_sample(sample: Sample, folder: Path) -> None:
    """Paint one sample and save it in the format that its name says."""
    image = generate_scene(SAMPLE_SEEDS[sample.place], sample.size).image
    path = folder / sample.name
    if path.suffix == ".jpg":
        image.save(path, quality=JPEG_QUALITY, optimize=True)
    else:
        image.save(path, optimize=True)


def main() -> None:
    """Write every sample into the folder that `--out` names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo/samples"), help="folder for the images")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for sample in SAMPLES:
        write_sample(sample, folder)


if __name__ == "__main__":
    main()
