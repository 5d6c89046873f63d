"""The colour of a class: told by its name alone, so the same in every picture, job and process.

Others: detectron2 has a table for COCO's classes and random colours else, supervision (0.31) takes the class id modulo
20, FiftyOne a hash of the label modulo its pool. Names are what jobs of several models share, so a hash it is.
"""

from __future__ import annotations

import hashlib

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = tuple(
    (int(text[:2], 16), int(text[2:4], 16), int(text[4:], 16))
    for text in (
        "0077ff 88ff00 ee0000 ffbbff 993399 44aa99 ee9922 9999ee bbdd99 227755 dd00cc ff6677 "
        "00ddcc dd1177 5522ff 996699 ff66cc bb1122 ee6600 cccc00 44ffcc 889955 ccaaff 6666bb "
        "77cc88 6688ff ffaabb 8800dd 00ee66 00aacc 77ff88 aa55dd bb5533 dd88aa cc6677 44cc55 "
        "9911bb bb1177 66ddee 00bb88 ff9966 bb4455 bb66bb 77eedd ffcc66 ee0099 4455ff 44bbdd"
    ).split()
)
"""Each as far as can be from those before it (Glasbey et al. 2007), in OKLab (Ottosson 2020).

The distance is the least of three eyes': the usual one's, and by Machado et al. 2009 a deuteranope's and a protanope's.
"""

SALT = "1087863"
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
