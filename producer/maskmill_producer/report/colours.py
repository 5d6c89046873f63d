"""The colour of a class: told by its name alone, so the same in every picture, job and process.

Others: detectron2 has a table for COCO's classes and random colours else, supervision (0.31) takes the class id modulo
20, FiftyOne a hash of the label modulo its pool. Names are what jobs of several models share, so a hash it is.
"""

from __future__ import annotations

import hashlib

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = tuple((code >> 16, code >> 8 & 255, code & 255) for code in (
    0x0077ff, 0x88ff00, 0xee0000, 0xffbbff, 0x993399, 0x44aa99, 0xee9922, 0x9999ee,
    0xbbdd99, 0x227755, 0xdd00cc, 0xff6677, 0x00ddcc, 0xdd1177, 0x5522ff, 0x996699,
    0xff66cc, 0xbb1122, 0xee6600, 0xcccc00, 0x44ffcc, 0x889955, 0xccaaff, 0x6666bb,
    0x77cc88, 0x6688ff, 0xffaabb, 0x8800dd, 0x00ee66, 0x00aacc, 0x77ff88, 0xaa55dd,
    0xbb5533, 0xdd88aa, 0xcc6677, 0x44cc55, 0x9911bb, 0xbb1177, 0x66ddee, 0x00bb88,
    0xff9966, 0xbb4455, 0xbb66bb, 0x77eedd, 0xffcc66, 0xee0099, 0x4455ff, 0x44bbdd,
))  # fmt: skip
"""Each as far as can be from those before it (Glasbey et al. 2007), in OKLab (Ottosson 2020).

The distance is the least of three eyes': the usual one's, and by Machado et al. 2009 a deuteranope's and a protanope's.
"""

SALT = "145126"
"""With it the 19 classes of Cityscapes, 20 everyday ones of COCO, 16 of ADE20k and the demo's have no colour twice."""

UNNAMED: Colour = (150, 150, 156)


def colour_of(title: str) -> Colour:
    """The colour of a class by its name: `colour_of("cat")` is the same on all machines.

    Two of many classes may share one; their outlines and labels tell them apart.
    """
    digest = hashlib.sha256(f"{SALT}{title}".encode(errors="surrogatepass")).digest()
    return PALETTE[int.from_bytes(digest[:8]) % len(PALETTE)]


def in_hex(colour: Colour) -> str:
    """As CSS writes it: `#0077ff`."""
    return "#" + bytes(colour).hex()


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever is read better on a colour (WCAG 2, relative luminance)."""
    red, green, blue = (channel / 255 for channel in colour)
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return (0, 0, 0) if luminance > 0.18 else (255, 255, 255)
