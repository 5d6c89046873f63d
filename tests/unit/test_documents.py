"""What becomes of a page's blocks before its commands are run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.documents import PAGES, ROOT, agrees, blocks, script, transcript


def run(text: str, work: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"MASKMILL_STATE_DIR": str(work / "none")}
    found = script(blocks("page.md", text), work)
    return subprocess.run(["bash", "-c", found], env=environment, cwd=work, capture_output=True, text=True)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_is_run_or_says_why_not(page: str) -> None:
    blocks(page, (ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "demo/README.md"])
def test_links_of_pages_that_the_site_does_not_have_lead_somewhere(page: str) -> None:
    tokens = MarkdownIt().enable("table").parse((ROOT / page).read_text(encoding="utf-8"))
    parts = [part for token in tokens for part in token.children or () if part.type in ("link_open", "image")]
    links = [str(part.attrs.get("href") or part.attrs["src"]) for part in parts]
    assert links
    here = [link for link in links if not link.startswith("https://")]
    assert [link for link in here if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize(
    "text",
    ["```\nls\n```", "    ls\n", "```text\n$ ls\n```", "```text\nmaskmill run photos/\n```", "```fish\nls\n```"],
)
def test_a_block_that_is_neither_run_nor_plainly_data_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"page\.md:\d"):
        blocks("page.md", text)


def test_a_block_that_is_not_run_says_why() -> None:
    with pytest.raises(ValueError, match="say why"):
        blocks("page.md", "<!-- not run: -->\n```sh\nls\n```")
    [block] = blocks("page.md", "<!-- not run: a GPU -->\n```sh\nls\n```")
    assert not block.runs


def test_blocks_share_a_shell_and_the_first_failure_ends_it(tmp_path: Path) -> None:
    done = run(
        "```sh\nNAME=here\n```\n\n```sh\ntouch $NAME\n```\n\n```sh\nfalse\n```\n\n```sh\ntouch never\n```", tmp_path
    )
    assert done.returncode == 1
    assert "@ page.md:10" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"here"}


def test_python_blocks_in_a_row_are_one_program_with_the_page_s_lines(tmp_path: Path) -> None:
    done = run("```python\na = 1\n```\n\n```python\nassert a == 1\nraise SystemExit(a + 2)\n```", tmp_path)
    assert done.returncode == 3, done.stderr
    failed = run("# Title\n\n```python\nraise ValueError\n```", tmp_path)
    assert "line 4" in failed.stderr


def test_a_console_block_is_commands_and_what_they_print(tmp_path: Path) -> None:
    text = "```console\n$ echo one \\\n> two\none two\n$ false\n$ echo $?\n1\n```"
    done = run(text, tmp_path)
    assert done.returncode == 0, done.stderr
    [block] = blocks("page.md", text)
    shown = [(line, expected) for line, _, expected in transcript(block) if expected]
    assert [agrees(expected, (tmp_path / str(line)).read_text()) for line, expected in shown] == [True, True]


def test_what_was_printed_differs_from_what_is_shown() -> None:
    assert agrees("18 masks in …\n", "18 masks in out  \n")
    assert not agrees("18 masks in …\n", "17 masks in out\n")
    assert not agrees("18 masks", "18 masks\nand more")


def test_figures_may_differ_where_the_page_says_so() -> None:
    shown = "forward   19.5  1\n28.4 images/s\n"
    assert agrees(shown, "forward  1,133.1  12\n0.9 images/s\n", figures_differ=True)
    assert not agrees(shown, "forward   many  1\n28.4 images/s\n", figures_differ=True)
    assert not agrees(shown, "forward   19.6  1\n28.4 images/s\n")
