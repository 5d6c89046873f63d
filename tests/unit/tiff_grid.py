"""TIFFs of every kind that tifffile writes, with what is in them: 472 drawn from the product of their properties."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

SIZE = 472
HEIGHT, WIDTH = 37, 53

KINDS = {"grey": 1, "white": 1, "alpha": 2, "rgb": 3, "rgba": 4, "rgb+2": 5, "palette": 1, "cmyk": 4, "bands": 4}
"""Colours, with their number of samples; `white` has 0 as white, `rgb+2` two bands behind the colours."""

PHOTOMETRIC = {"white": "miniswhite", "rgb": "rgb", "rgba": "rgb", "rgb+2": "rgb", "palette": "palette"}
PHOTOMETRIC |= {"cmyk": "separated"}
EXTRAS = {"alpha": ["unassalpha"], "rgba": ["unassalpha"], "rgb+2": ["unspecified"] * 2, "bands": ["unspecified"] * 3}

DEPTHS = ("uint1", "uint8", "uint12", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")
COMPRESSIONS = (None, "lzw", "deflate", "packbits", "zstd", "lzma", "jpeg", "webp", "lerc", "jpegxl", "jpeg2000")
LOSSY = ("jpeg", "webp", "jpegxl", "jpeg2000")


@dataclass(frozen=True)
class Tiff:
    """One file by its properties."""

    kind: str
    depth: str
    planar: bool
    compression: str | None
    byteorder: str
    predictor: bool
    tiled: bool

    def __str__(self) -> str:
        order = "big" if self.byteorder == ">" else "little"
        flags = (("planar", self.planar), ("predictor", self.predictor), ("tiles", self.tiled))
        return "-".join([self.kind, self.depth, str(self.compression), order, *(name for name, on in flags if on)])

    @property
    def bits(self) -> int:
        return int(self.depth.removeprefix("u").lstrip("intfloa"))

    @property
    def is_unsigned(self) -> bool:
        return self.depth.startswith("u")

    @cached_property
    def values(self) -> NDArray[Any]:
        """(height, width, samples): a smooth picture with a little noise, over the range of its number type."""
        samples = KINDS[self.kind]
        y, x = np.meshgrid(np.linspace(0, 1, HEIGHT), np.linspace(0, 1, WIDTH), indexing="ij")
        weights = np.linspace(0.1, 0.9, samples)
        noise = np.random.default_rng(7).uniform(0, 0.04, (HEIGHT, WIDTH, samples))
        part = 0.96 * (x[..., None] * weights + y[..., None] * (1 - weights)) + noise
        if self.depth.startswith("float"):
            return part.astype(self.depth)
        if self.bits == 1:
            return part > 0.5
        whole = np.rint(part * (2**self.bits - 1) - (0 if self.is_unsigned else 2 ** (self.bits - 1)))
        return whole.astype("uint16" if self.bits == 12 else self.depth)

    @cached_property
    def palette(self) -> NDArray[np.uint16]:
        shades = np.arange(2**self.bits, dtype=np.uint32) * 65535 // (2**self.bits - 1)
        return np.stack([shades, shades[::-1], shades // 2]).astype(np.uint16)

    def write(self) -> bytes:
        """The file; raises what tifffile raises for what it cannot write."""
        values = self.values[..., 0] if KINDS[self.kind] == 1 else self.values
        values = np.moveaxis(values, -1, 0) if self.planar else values
        options: dict[str, Any] = {"tile": (16, 32)} if self.tiled else {"rowsperstrip": 11}
        if KINDS[self.kind] > 1:
            options["planarconfig"] = "separate" if self.planar else "contig"
        if self.kind in EXTRAS:
            options["extrasamples"] = EXTRAS[self.kind]
        if self.kind == "palette":
            options["colormap"] = self.palette
        if self.bits == 12:
            options["bitspersample"] = 12
        buffer = io.BytesIO()
        tifffile.imwrite(
            buffer,
            values,
            byteorder=self.byteorder,
            compression=self.compression,
            predictor=self.predictor or None,
            photometric=PHOTOMETRIC.get(self.kind, "minisblack"),
            metadata=None,
            **options,
        )
        return buffer.getvalue()

    @property
    def readable(self) -> bool:
        """Whether it must be read: it says which of its values are the colours, and not in a rare way."""
        if not self.is_clear:
            return False
        if self.kind in ("palette", "cmyk"):
            wide = self.kind == "cmyk" and self.bits == 16 and not self.planar
            rare = self.compression in ("webp", "lerc", "jpegxl", "jpeg2000")
            return self.is_unsigned and (self.bits == 8 or wide) and not rare
        return self.kind != "bands" and (self.bits > 1 or KINDS[self.kind] == 1)

    @property
    def is_clear(self) -> bool:
        """No predictor where there is none (libtiff ignores it then), no JPEG of more than a JPEG holds."""
        predicts = self.compression in (None, "lzw", "deflate", "zstd", "lzma")
        simple = self.depth == "uint8" and KINDS[self.kind] <= 4
        return (predicts or not self.predictor) and (simple or self.compression not in ("jpeg", "jpeg2000"))

    @property
    def lossy(self) -> bool:
        return self.compression in LOSSY

    def picture(self) -> NDArray[np.uint8]:
        """What is right: 8-bit RGB by the rule of `auto`, worked out in one piece."""
        values = self.values[..., :3] if self.kind.startswith("rgb") else self.values
        if self.kind == "palette":
            return (self.palette[:, values[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 0)
        if self.kind == "cmyk":
            ink = (values >> (self.bits - 8)).astype(np.int64)
            return ((255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255).astype(np.uint8)
        values = values if self.kind.startswith("rgb") else np.repeat(values[..., :1], 3, axis=-1)
        shown = eight_bit_by_auto(values, self.bits if self.is_unsigned and self.bits <= 16 else None)
        return 255 - shown if self.kind == "white" else shown


def eight_bit_by_auto(values: NDArray[Any], bits: int | None) -> NDArray[np.uint8]:
    """The rule of `--scale auto` once more: the high byte of so many bits, else percentiles 2 to 98."""
    if bits:
        return (values * np.uint8(255) if bits == 1 else values >> (bits - 8)).astype(np.uint8)
    low, high = np.percentile(values[np.isfinite(values)].astype(np.float64), (2, 98), method="nearest")
    part = (np.nan_to_num(values.astype(np.float64), nan=low) - low) / (high - low)
    return np.rint(np.clip(part, 0, 1) * 255).astype(np.uint8)


def grid(size: int = SIZE, seed: int = 0, only: str | None = None) -> list[tuple[Tiff, bytes]]:
    """So many files, drawn anew for each seed from all (of `only` this depth) that tifffile can write."""
    flag = (False, True)
    every = [
        Tiff(*each)
        for each in itertools.product(KINDS, [only] if only else DEPTHS, flag, COMPRESSIONS, "<>", flag, flag)
    ]
    drawn = random.Random(seed).sample(every, len(every))
    return list(itertools.islice(_written(drawn), size))


def _written(drawn: list[Tiff]) -> Iterator[tuple[Tiff, bytes]]:
    for each in drawn:
        if each.bits == 12 and each.byteorder == ">":  # tifffile 2026.3 packs swapped bytes
            continue
        if (each.planar and KINDS[each.kind] == 1) or (each.kind == "palette" and each.bits > 16):
            continue
        try:
            yield each, each.write()
        except Exception:  # noqa: BLE001 - not a combination that exists
            continue
