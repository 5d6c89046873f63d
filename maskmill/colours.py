"""The colour of a class: told by its name alone, so the same in every picture, job and process.

Others: detectron2 has a table for COCO's classes and random colours else, supervision (0.31) takes the class id modulo
20, FiftyOne a hash of the label modulo its pool. Names are what jobs of several models share, so a hash it is.
"""

from __future__ import annotations

import hashlib

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = tuple((code >> 16, code >> 8 & 255, code & 255) for code in (
    0x0078d2, 0xffd200, 0xb42d00, 0xf0a5ff, 0x00b469, 0x78f0c3, 0xa54b96, 0xf07800,
    0x9696d2, 0x00785a, 0x5ac3c3, 0xc3c387, 0x4b9696, 0xb46900, 0xffa500, 0x3c96ff,
    0xe19696, 0x69874b, 0xa5e1ff, 0xa5f078, 0xe169a5, 0x4b5ab4, 0xff96c3, 0xd24b78,
    0x78a51e, 0xff7869, 0x6978f0, 0x7869b4, 0xa578c3, 0xc396f0, 0x875a3c, 0xa5d25a,
    0xffc3a5, 0xffb4e1, 0xb43c69, 0x2de1e1, 0x87964b, 0x00d2ff, 0x69b487, 0x4b871e,
    0xc37887, 0x873ca5, 0x00c3a5, 0x5aa5b4, 0x007896, 0x8787e1, 0xd2a5e1, 0xa52d78,
))  # fmt: skip
"""Each as far as can be from those before it (Glasbey et al. 2007), in OKLab (Ottosson 2020).

The distance is the least of three eyes': the usual one's, and by Machado et al. 2009 a deuteranope's and a protanope's.
"""

SALT = "120109"
"""With it neither the 19 classes of Cityscapes nor 20 everyday ones of COCO nor the demo's have a colour twice."""

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
