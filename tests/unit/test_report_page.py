"""The report's page in a real browser, from disk: what it shows, by mouse, keyboard and address, of any size."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page

from benchmarks import made_jobs
from maskmill.addresses import Address
from maskmill.colours import colour_of
from maskmill.schema import Counts, Outcome, Segment, Status
from maskmill_producer.report.page.extra import (
    ClassChange,
    ClassScore,
    Comparison,
    ImageScore,
    Score,
    write_comparison,
    write_score,
)
from maskmill_producer.report.page.pictures import SIDE
from maskmill_producer.report.page.report import write_report
from maskmill_producer.report.page.source import Part
from tests.browser import browser, opened
from tests.made_report import Made, made_report

IMAGES, GALLERY = 210, 30
HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">\u2028\'&amp;`${hacked}'
DARK: dict[str, Any] = {"color_scheme": "dark"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
LARGE, FEW = 100_000, 1000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "report"
    made_report(folder, IMAGES, GALLERY)
    return folder


def outcomes() -> list[Outcome]:
    return [made_jobs.outcome(number) for number in range(IMAGES)]


def shown(page: Page) -> int:
    """How many images the filters let through, as the page says it."""
    return int(page.inner_text("#count").split()[0].replace(",", "").replace("None", "0"))


def names(page: Page, number: int) -> list[str]:
    page.wait_for_function(
        "least => { const names = [...document.querySelectorAll('.cell .name')];"
        " return names.length >= least && names.every(n => n.textContent.startsWith('IMG')); }",
        arg=min(number, 1),
    )
    return [each.inner_text() for each in page.query_selector_all(".cell .name")[:number]]


def name_of(outcome: Outcome) -> str:
    return Path(outcome.uri).name


@pytest.mark.parametrize("context", [{}, DARK, PHONE, DARK | PHONE], ids=["light", "dark", "phone", "dark phone"])
def test_axe_finds_nothing_on_the_page_nor_in_the_dialog(chromium: Browser, report: Path, context: Any) -> None:
    with opened(chromium, report, bypass_csp=True, **context) as page:
        page.evaluate("document.getElementById('images').scrollIntoView()")
        page.wait_for_selector(".cell canvas")
        assert violations(page) == []
        page.click(".cell")
        page.wait_for_selector("dialog[open] #segments tbody tr")
        assert violations(page) == []


def violations(page: Page) -> list[tuple[str, str]]:
    # What it asks for beforehand, the style sheet, file:// refuses.
    found = Axe().run(page, options={"preload": False}).response["violations"]
    return [(each["id"], node["html"][:120]) for each in found for node in each["nodes"]]


def test_foreign_texts_are_shown_and_never_obeyed(chromium: Browser, tmp_path: Path) -> None:
    segment = Segment(id=1, label=HOSTILE, label_id=0, score=0.5, area=9, box=(0, 0, 3, 3))
    source = Made(8, segments=(segment,))
    source.record = source.record.model_copy(update={"sources": (Address(HOSTILE),), "software": {HOSTILE: HOSTILE}})
    example = next(iter(source.manifest.examples.values())).model_copy(update={"reason": HOSTILE, "uri": HOSTILE})
    source.manifest = source.manifest.model_copy(
        update={"failures": {HOSTILE: 1}, "examples": {HOSTILE: example}, "left_out": {HOSTILE: 1}, "reason": HOSTILE}
    )
    source.name_of = lambda uri: HOSTILE  # type: ignore[method-assign]
    write_report(source, tmp_path / "report")
    write_score(tmp_path / "report", Score(title=HOSTILE, numbers={HOSTILE: 1}, notes=(HOSTILE,)))
    with opened(chromium, tmp_path / "report", "#i=1") as page:
        page.wait_for_selector("dialog[open] #segments tbody tr")
        page.hover("#stage", position={"x": 2, "y": 2})
        assert page.evaluate("window.hacked ?? null") is None
        assert page.query_selector("img[src=x]") is None
        assert page.inner_text("#viewer-title").startswith("</script>")
        assert page.inner_text("#classes tbody th").startswith("</script>")
        assert page.evaluate("document.scripts.length") == 9, "those of the page alone"
    for path in (tmp_path / "report").rglob("*.js"):
        assert "</script" not in path.read_text()


def test_filters_and_order_are_those_of_the_outcomes(chromium: Browser, report: Path) -> None:
    found = outcomes()
    with opened(chromium, report, bypass_csp=True) as page:
        failed = sum(each.status is Status.FAILED for each in found)
        assert shown(page) == GALLERY + failed
        page.select_option("[name=which]", "all")
        assert shown(page) == IMAGES
        page.select_option("[name=label]", label="person")
        assert shown(page) == sum(any(s.label == "person" for s in each.segments or ()) for each in found)
        page.click("text=Clear")
        page.select_option("[name=which]", "all")
        page.select_option("[name=status]", label="failed")
        assert shown(page) == failed
        page.select_option("[name=status]", label="any")
        page.select_option("[name=code]", label="truncated")
        assert shown(page) == sum(each.code == "truncated" for each in found)
        page.select_option("[name=code]", label="any")
        page.select_option("[name=which]", "empty")
        assert shown(page) == sum(each.segments == () for each in found)
        page.select_option("[name=which]", "all")
        page.select_option("[name=order]", label="least sure first")
        sure = sorted((each for each in found if each.segments), key=lowest)
        assert names(page, 4) == [name_of(each) for each in sure[:4]]
        page.fill("[name=to]", "0.6")
        assert shown(page) == sum(lowest(each) <= 0.6 for each in sure)


def lowest(outcome: Outcome) -> float:
    return min(each.score or 0 for each in outcome.segments or ())


def test_a_class_or_code_in_a_table_leads_to_its_images(chromium: Browser, report: Path) -> None:
    with opened(chromium, report) as page:
        page.click("#failures button:has-text('truncated')")
        assert shown(page) == sum(each.code == "truncated" for each in outcomes())
        page.click("#classes button:has-text('person')")
        assert page.input_value("[name=code]") == ""
        assert shown(page) == sum(any(s.label == "person" for s in each.segments or ()) for each in outcomes())


def test_the_masks_that_are_drawn_are_the_masks(chromium: Browser, report: Path) -> None:
    number, outcome = next((n, each) for n, each in enumerate(outcomes()) if n == 0 and each.segments)
    full = Image.fromarray(made_jobs.segment_map(outcome))
    with opened(chromium, report, f"#i={number + 1}") as page:
        page.wait_for_selector("dialog[open] #segments tbody tr")
        width, height, flat = page.evaluate("[viewer.map.width, viewer.map.height, [...viewer.map.ids]]")
        drawn = np.array(flat).reshape(height, width)
        assert max(width, height) == SIDE
        assert (drawn == np.asarray(full.resize((width, height), Image.Resampling.NEAREST))).mean() > 0.9999
        first = (outcome.segments or ())[0]
        row, column = (int(each) for each in np.argwhere(drawn == first.id).mean(axis=0))
        if drawn[row, column] == first.id:
            assert pixel(page, column, row)[:3] == pytest.approx(colour_of(first.title), abs=2)


def pixel(page: Page, x: int, y: int) -> list[int]:
    copy = """([x, y]) => {
        const context = document.createElement("canvas").getContext("2d");
        context.drawImage(document.getElementById("stage-masks"), -x, -y);
        return [...context.getImageData(0, 0, 1, 1).data];
    }"""
    found: list[int] = page.evaluate(copy, [x, y])
    return found


def test_segments_are_hidden_shown_alone_and_named_at_the_pointer(chromium: Browser, report: Path) -> None:
    with opened(chromium, report, "#i=1", bypass_csp=True) as page:
        page.wait_for_selector("dialog[open] #segments tbody tr")
        rows = page.locator("#segments tbody tr")
        place = "(id => viewer.map.ids.indexOf(id))"
        first = int(rows.first.get_attribute("data-id") or 0)
        x, y = page.evaluate(f"[{place}({first}) % viewer.map.width, Math.floor({place}({first}) / viewer.map.width)]")
        assert pixel(page, x, y)[3] > 0
        rows.first.locator("input").uncheck()
        assert pixel(page, x, y)[3] == 0
        rows.first.locator("button").click()
        assert rows.first.locator("button").get_attribute("aria-pressed") == "true"
        assert page.locator("#segments input:checked").count() == 1
        assert pixel(page, x, y)[3] == 255
        rows.first.locator("button").click()
        assert page.locator("#segments input:checked").count() == rows.count()
        stage = page.locator("#stage").bounding_box()
        assert stage
        scale = stage["width"] / page.evaluate("viewer.map.width")
        page.mouse.move(stage["x"] + (x + 0.5) * scale, stage["y"] + (y + 0.5) * scale)
        assert page.inner_text("#stage-name").startswith(rows.first.inner_text().split("\t")[0].strip())
        assert "hot" in (rows.first.get_attribute("class") or "")


def test_all_can_be_done_by_keyboard(chromium: Browser, report: Path) -> None:
    with opened(chromium, report, bypass_csp=True) as page:
        page.focus(".filters button[type=reset]")
        page.wait_for_function("document.querySelectorAll('.cell .name').length > 1")
        page.keyboard.press("Tab")
        first, second, *_ = names(page, 2)
        assert page.evaluate("document.activeElement.querySelector('.name').textContent") == first
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.querySelector('.name').textContent") == second
        page.keyboard.press("Enter")
        page.wait_for_function(f"document.getElementById('viewer-title').textContent.endsWith({json.dumps(second)})")
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"!document.getElementById('viewer-title').textContent.endsWith({json.dumps(second)})")
        page.wait_for_function("document.getElementById('viewer-title').textContent.endsWith('.jpg')")
        third = Path(page.inner_text("#viewer-title")).name
        assert re.fullmatch(r"#i=\d+", page.evaluate("location.hash"))
        page.keyboard.press("Escape")
        page.wait_for_function("!document.getElementById('viewer').open && location.hash === ''")
        assert page.evaluate("document.activeElement.querySelector('.name')?.textContent") == third
        page.keyboard.press("End")
        page.wait_for_function(f"document.activeElement.parentElement.ariaPosInSet === '{shown(page)}'")


def test_an_address_opens_an_image_and_one_that_there_is_not_opens_nothing(chromium: Browser, report: Path) -> None:
    with opened(chromium, report, "#i=8", bypass_csp=True) as page:
        page.wait_for_selector("dialog[open] #viewer-remarks li")
        assert page.inner_text("#viewer-title") == "2026/0000/IMG_000007.jpg"
        assert page.inner_text("#viewer-remarks").startswith("not_found: ")
        page.evaluate("byId('close').click(); location.hash = '#i=12'")  # at once: the close is told after the address
        page.wait_for_function("document.getElementById('viewer-title').textContent.endsWith('11.jpg')")
        assert "alpha_dropped" in page.inner_text("#viewer-remarks")
    for wrong in ("#i=0", f"#i={IMAGES + 1}", "#i=x", "#i=99999999999"):
        with opened(chromium, report, wrong) as page:
            assert page.query_selector("dialog[open]") is None


def test_an_image_without_a_picture_has_its_boxes_and_one_that_is_gone_its_masks(
    chromium: Browser, report: Path
) -> None:
    picture = dict(chosen(report))
    gone = next(number for number, state in picture.items() if state == 2)
    other = next(number for number, each in enumerate(outcomes()) if picture[number] == 0 and each.segments)
    with opened(chromium, report, f"#i={gone + 1}") as page:
        page.wait_for_selector("dialog[open] #viewer-remarks li")
        assert "not_found: " in page.inner_text("#viewer-remarks")
        assert page.is_hidden("#stage-picture")
        assert "without the image" in page.inner_text("#images .notice") or page.locator("#images .notice").count()
    with opened(chromium, report, f"#i={other + 1}") as page:
        page.wait_for_selector("dialog[open] #viewer-remarks li")
        assert "Boxes are shown in place of masks" in page.inner_text("#viewer-remarks")


ON_TOP = """why => {
  why.scrollIntoView({ block: "center" });
  const { x, y, width, height } = why.getBoundingClientRect();
  return document.elementFromPoint(x + width / 2, y + height / 2) === why;
}"""


def test_what_is_wrong_with_a_picture_is_not_covered_by_its_masks(chromium: Browser, report: Path) -> None:
    with opened(chromium, report) as page:
        page.evaluate("document.querySelector('#images').scrollIntoView()")
        said = page.locator(".frame:not(.failed) .why")
        while not said.count():
            page.mouse.wheel(0, 400)
            page.wait_for_timeout(50)
        assert said.first.evaluate(ON_TOP)


def chosen(report: Path) -> Iterator[tuple[int, int]]:
    text = (report / "data" / "index.js").read_text()
    columns = json.loads(text.removeprefix("maskmill.index(").rstrip().removesuffix(");"))["columns"]
    return enumerate(base64.b64decode(columns["picture"]))


def test_scores_and_changes_get_parts_of_their_own(chromium: Browser, tmp_path: Path) -> None:
    made_report(tmp_path / "report", 8, 2)
    one = ClassScore(name="cat", thing=True, truth=3, found=2, pq=0.5, sq=0.75, rq=2 / 3, iou=0.6)
    better, unknown = (one.model_copy(update={"name": name, "pq": pq}) for name, pq in (("dog", 0.9), ("elk", None)))
    write_score(
        tmp_path / "report",
        Score(
            title="against truth.json",
            numbers={"PQ": 0.5, "AP": None},
            classes=(unknown, better, one),
            worst=(ImageScore(image=4, pq=0.1),),
        ),
    )
    change = ClassChange(name="cat", segments_before=3, segments_now=4, share_before=0.25, share_now=0.5, pq=0.9)
    write_comparison(tmp_path / "report", Comparison(title="with 2026", numbers={"images": 8}, classes=(change,)))
    with opened(chromium, tmp_path / "report", bypass_csp=True) as page:
        assert page.is_visible("nav >> text=Score")
        table = page.locator("#score .wide").first
        assert table.locator("tbody th").all_inner_texts() == ["cat", "dog", "elk"]
        assert table.locator("tbody tr").first.locator("> *").all_inner_texts() == [
            "cat",
            "thing",
            "3",
            "2",
            "0.50",
            "0.75",
            "0.67",
            "0.60",
            "–",
        ]
        assert page.locator("#score .tile").all_inner_texts() == ["0.500\nPQ", "–\nAP"]
        assert page.locator("#compare .wide tbody tr > *").all_inner_texts() == [
            "cat",
            "3",
            "4",
            "25 %",
            "50 %",
            "0.90",
        ]
        assert violations(page) == []
        page.wait_for_function("document.querySelector('#score a').textContent.endsWith('IMG_000004.jpg')")
        page.click("#score a")
        page.wait_for_selector("dialog[open]")
        page.wait_for_function("document.getElementById('viewer-title').textContent.endsWith('IMG_000004.jpg')")


@pytest.mark.parametrize("context", [{}, PHONE], ids=["desk", "phone"])
def test_what_is_chosen_is_not_cut_and_classes_need_no_scrolling_aside(
    chromium: Browser, report: Path, context: Any
) -> None:
    widths = """(select) => {
        const chosen = select.offsetWidth;
        select.style.maxWidth = "none";
        return [chosen, select.offsetWidth];
    }"""
    with opened(chromium, report, **context) as page:
        chosen, needed = page.locator("[name=which]").evaluate(widths)
        assert chosen == needed
        table = page.locator("#classes .wide")
        assert table.evaluate("(table) => table.scrollWidth - table.clientWidth") == 0


def test_what_is_printed_at_once_has_its_masks(chromium: Browser, report: Path) -> None:
    printed = """(async () => {
        dispatchEvent(new Event("beforeprint"));
        for (let turn = 0; turn < 100; turn++) await null;  // no file is waited for
        return [...document.querySelectorAll(".place")].map((place) => place.querySelectorAll("canvas").length);
    })()"""
    with opened(chromium, report, bypass_csp=True) as page:
        page.wait_for_function("maskFiles.kept.size > 1 && !maskFiles.waiting.size && !rowFiles.waiting.size")
        assert page.evaluate(printed) == [1] * 24
        page.emulate_media(media="print")
        said = page.evaluate("getComputedStyle(document.getElementById('count'), '::after').content")
        assert said == '"; the first 24 are printed"'


def test_without_scores_failures_or_masks_there_are_no_empty_parts(chromium: Browser, tmp_path: Path) -> None:
    made_report(tmp_path / "report", 6, 0)
    with opened(chromium, tmp_path / "report") as page:
        assert page.locator("nav a:visible").all_inner_texts() == [
            "Images", "Account", "Classes", "Distributions", "Time", "Request",
        ]  # fmt: skip
        assert page.is_hidden("#score")


def test_where_segments_have_no_scores_none_are_asked_for(chromium: Browser, tmp_path: Path) -> None:
    segments = tuple(replace(each, score=None) for each in made_jobs.outcome(1).segments or ())
    write_report(Made(6, segments=segments), tmp_path / "report", 0)
    with opened(chromium, tmp_path / "report") as page:
        assert page.is_hidden("#scores")
        assert "least sure first" not in page.locator("[name=order] option").all_inner_texts()


def test_a_report_that_was_broken_off_says_so(chromium: Browser, tmp_path: Path) -> None:
    made_report(tmp_path / "report", 3, 0)
    (tmp_path / "report" / "data" / "index.js").write_text("")
    page = chromium.new_page()
    page.goto((tmp_path / "report" / "index.html").as_uri())
    assert page.is_visible("text=This report is not complete")
    page.close()


def test_a_hundred_thousand_images_are_ready_soon_and_take_little_memory(chromium: Browser, tmp_path: Path) -> None:
    write_report(ManyMade(LARGE), tmp_path / "report", 6)
    with opened(chromium, tmp_path / "report", bypass_csp=True) as page:
        heap = page.context.new_cdp_session(page)
        page.select_option("[name=which]", "all")
        assert shown(page) == LARGE
        page.select_option("[name=order]", label="least sure first")
        for part in range(1, 9):
            page.evaluate(f"scrollTo(0, document.body.scrollHeight * {part} / 8)")
            page.wait_for_function(
                "[...document.querySelectorAll('.cell .name')].some(n => n.textContent.startsWith('IMG'))"
            )
        assert page.locator(".place").count() < 150
        heap.send("HeapProfiler.collectGarbage")
        assert page.evaluate("performance.memory.usedJSHeapSize") < 50e6
        milliseconds = page.evaluate(
            "(() => { const begun = performance.now(); filter(); return performance.now() - begun; })()"
        )
        assert milliseconds < 2000


class ManyMade(Made):
    """As many images as one likes, copies of a few, so that they are made in seconds."""

    def __init__(self, images: int) -> None:
        super().__init__(FEW)
        self.times = images // FEW
        counts = Counts(stored=images - images // 50, failed=images // 50)
        self.manifest = self.manifest.model_copy(update={"submitted": images, "counts": counts})

    def parts(self) -> Iterator[Part]:
        few = list(super().parts())
        for _ in range(self.times):
            yield from few
