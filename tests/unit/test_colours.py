"""A class has one colour in all pictures, jobs and processes, and common classes have colours of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from maskmill.colours import PALETTE, Colour, colour_of, in_hex, ink_on

DEMO = "disc square triangle star ring cross sky grass water sand"
CITYSCAPES = (
    "road sidewalk building wall fence pole traffic_light traffic_sign vegetation terrain sky person rider car truck "
    "bus train motorcycle bicycle"
)
COCO = (
    "person chair car dining_table cup bottle bowl handbag truck bench backpack book cell_phone sink clock tv "
    "potted_plant couch dog cat"
)

TO_LMS = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
          [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
TO_LAB = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
          [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip
EYES = {
    "usual": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}
"""As they see linear sRGB (Machado et al. 2009, severity 1)."""


def linear(colour: Colour) -> NDArray[np.floating]:
    values = np.array(colour) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def oklab(colour: Colour, eye: str) -> NDArray[np.floating]:
    seen = np.clip(np.array(EYES[eye]) @ linear(colour), 0, 1)
    return np.array(TO_LAB) @ np.cbrt(np.array(TO_LMS) @ seen)


def least_distance(colours: Sequence[Colour], eye: str = "usual") -> float:
    return min(float(np.linalg.norm(oklab(a, eye) - oklab(b, eye))) for a, b in combinations(colours, 2))


def test_a_class_has_its_colour_in_other_processes_too() -> None:
    ask = "from maskmill.colours import *; print([in_hex(colour_of(n)) for n in ('cat', 'кот', '')])"
    answers = {
        subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, env={
            "PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path),
        }).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert answers == {str([in_hex(colour_of(name)) for name in ("cat", "кот", "")])}


def test_the_colours_of_today_are_those_of_all_later_versions() -> None:
    """Pictures of one year lie beside those of the next."""
    assert [in_hex(colour_of(name)) for name in ("person", "car", "sky")] == ["#c37887", "#69b487", "#a578c3"]


@pytest.mark.parametrize(("names", "least"), [(DEMO, 0.1), (CITYSCAPES, 0.07), (COCO, 0.05)])
def test_classes_that_stand_side_by_side_have_colours_of_their_own(names: str, least: float) -> None:
    assert least_distance([colour_of(name.replace("_", " ")) for name in names.split()]) > least


@pytest.mark.parametrize(("eye", "least"), [("usual", 0.055), ("protanope", 0.035), ("deuteranope", 0.035)])
def test_all_colours_differ_for_all_eyes(eye: str, least: float) -> None:
    """Twice and once the difference that is just seen side by side (0.02 in OKLab)."""
    assert len(set(PALETTE)) == 48
    assert least_distance(PALETTE, eye) > least


@pytest.mark.parametrize("colour", PALETTE)
def test_text_is_read_on_each_colour(colour: Colour) -> None:
    luminance = np.array([0.2126, 0.7152, 0.0722]) @ linear(colour) + 0.05
    contrast = luminance / 0.05 if ink_on(colour) == (0, 0, 0) else 1.05 / luminance
    assert contrast >= 4.5, in_hex(colour)


def test_a_name_that_is_no_text_has_a_colour() -> None:
    assert colour_of("\ud800") in PALETTE
