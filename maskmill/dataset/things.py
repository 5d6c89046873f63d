"""Which classes are things (counted one by one: cats) and which stuff (sky), by their names in known datasets.

No configuration on the hub says so. The lists: COCO panoptic (panopticapi, panoptic_coco_categories.json), ADE20k's 150
classes (Mask2Former, register_ade20k_panoptic.py), Cityscapes' 19 (cityscapesScripts, helpers/labels.py), and
the demo model's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from maskmill.schema import Subtask

COCO_THINGS = """person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|
parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|handbag|tie|suitcase|
frisbee|skis|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|tennis racket|bottle|
wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|
potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|keyboard|cell phone|microwave|oven|toaster|sink|
refrigerator|book|clock|vase|scissors|teddy bear|hair drier|toothbrush"""

COCO_STUFF = """banner|blanket|bridge|cardboard|counter|curtain|door-stuff|floor-wood|flower|fruit|gravel|house|light|
mirror-stuff|net|pillow|platform|playingfield|railroad|river|road|roof|sand|sea|shelf|snow|stairs|tent|towel|
wall-brick|wall-stone|wall-tile|wall-wood|water-other|window-blind|window-other|tree-merged|fence-merged|
ceiling-merged|sky-other-merged|cabinet-merged|table-merged|floor-other-merged|pavement-merged|mountain-merged|
grass-merged|dirt-merged|paper-merged|food-other-merged|building-other-merged|rock-merged|wall-other-merged|
rug-merged"""

ADE20K_THINGS = """bed|window|windowpane|cabinet|person|door|table|curtain|chair|car|painting|sofa|shelf|mirror|
armchair|seat|fence|desk|wardrobe|lamp|tub|bathtub|rail|railing|cushion|box|column|signboard|chest of drawers|counter|
sink|fireplace|refrigerator|stairs|case|pool table|pillow|screen door|bookcase|coffee table|toilet|flower|book|bench|
countertop|stove|palm|kitchen island|computer|swivel chair|boat|arcade machine|bus|towel|light|truck|chandelier|awning|
street lamp|streetlight|booth|tv|television receiver|television|plane|airplane|clothes|apparel|pole|bannister|ottoman|
bottle|van|ship|fountain|washer|plaything|stool|barrel|basket|bag|minibike|oven|ball|food|step|trade name|microwave|
pot|animal|bicycle|dishwasher|screen|sculpture|hood|sconce|vase|traffic light|tray|trash can|ashcan|fan|plate|monitor|
bulletin board|radiator|glass|clock|flag"""

ADE20K_STUFF = """wall|building|sky|floor|tree|ceiling|road|grass|sidewalk|earth|mountain|plant|water|house|sea|rug|
field|rock|base|sand|skyscraper|grandstand|path|runway|stairway|river|bridge|blind|hill|bar|hovel|tower|dirt track|
land|escalator|buffet|poster|stage|conveyer belt|canopy|pool|swimming pool|falls|waterfall|tent|cradle|tank|lake|
blanket|pier|crt screen|shower"""

CITYSCAPES_THINGS = "person|rider|car|truck|bus|train|motorcycle|bicycle"

CITYSCAPES_STUFF = "road|sidewalk|building|wall|fence|pole|traffic light|traffic sign|vegetation|terrain|sky"

DEMO_THINGS = "disc|square|triangle|star|ring|cross"

DEMO_STUFF = "sky|grass|water|sand"

COCO_FIRST_STUFF = 92
"""Categories of COCO from here on are stuff. DETR's panoptic checkpoints name some by their number: `LABEL_184`."""

NUMBERED = re.compile(r"label_(\d+)")
NO_CLASS = {"n/a", ""}


def _table(things: str, stuff: str) -> dict[str, bool]:
    return {_plain(name): is_thing for names, is_thing in ((things, True), (stuff, False)) for name in names.split("|")}


def _plain(name: str) -> str:
    """Small letters, and of the synonyms of ADE20k the first: `road, route` is `road`."""
    return name.partition(", ")[0].strip().casefold()


KNOWN = {
    "Cityscapes": _table(CITYSCAPES_THINGS, CITYSCAPES_STUFF),
    "COCO panoptic": _table(COCO_THINGS, COCO_STUFF),
    "ADE20k": _table(ADE20K_THINGS, ADE20K_STUFF),
    "the demo model": _table(DEMO_THINGS, DEMO_STUFF),
}


@dataclass(frozen=True)
class Things:
    """Whether each class is a thing, by its name, and what told so: for people."""

    by_name: Mapping[str, bool]
    told_by: str


def things_among(names: Iterable[str], subtask: Subtask | None, of_model: Iterable[str] = ()) -> Things:
    """By a dataset that knows all names, else by the subtask: instances are things, semantic classes are stuff.

    `things_among(["cat", "sky-other-merged"], None)` is told by COCO panoptic: the cat is a thing, the sky is not.
    All names of a model count first: a traffic light of COCO's is a thing, although Cityscapes knows that name, too.
    Of panoptic models with other names all classes are taken for things, so that nothing is fused by a guess.
    """
    wanted = list(names)
    for asked in (list(of_model), wanted):
        for dataset, table in KNOWN.items():
            found = {name: _look_up(name, table, numbered=dataset == "COCO panoptic") for name in asked}
            if asked and None not in found.values():
                return Things({name: bool(found[name]) for name in wanted}, f"the classes of {dataset}")
    is_stuff = subtask is Subtask.SEMANTIC
    told_by = f"the subtask: {subtask.value if subtask else 'panoptic'} classes are {'stuff' if is_stuff else 'things'}"
    return Things(dict.fromkeys(wanted, not is_stuff), told_by)


def _look_up(name: str, table: Mapping[str, bool], *, numbered: bool) -> bool | None:
    plain = _plain(name)
    if plain in NO_CLASS:
        return False
    if numbered and (number := NUMBERED.fullmatch(plain)):
        return int(number[1]) < COCO_FIRST_STUFF
    return table.get(plain)
