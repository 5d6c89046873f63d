"""The blocks of a page in Markdown, as one script of bash that runs them in their order.

`sh` and `python` blocks are run; a `console` block is run line by line, and what follows `$ command` is what it must
print, where `…` stands for anything. A comment before a block says what else becomes of it:

* `<!-- not run: why -->`: it is shown only;
* `<!-- in the background -->`: it goes on while the next blocks run, and is ended with the page;
* `<!-- figures differ -->`: any number may be printed in the place of the one that is shown;
* `<!-- first: command -->`: a command that readers need not see runs before it.
"""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
RUN = {"sh", "console", "python"}
SHOWN = {"text", "json", "ini", "yaml", "dockerfile", "csv"}
COMMENT = re.compile(r"<!-- (not run|in the background|figures differ|first)(?::\s*(.*?))?\s*-->", re.DOTALL)
NUMBER = r"\d[\d.,]*"
BEGINNING = """\
set -euo pipefail
started=()
finish() {
  for each in "${started[@]}"; do kill -TERM -- "-$each" 2>/dev/null || true; done
  for each in "${started[@]}"; do wait "$each" 2>/dev/null || true; done
  if [ -d "$MASKMILL_STATE_DIR" ]; then maskmill servers stop >&2; fi
}
trap finish EXIT
"""


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first line of text, from 1."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None = None
    background: bool = False
    figures_differ: bool = False
    first: str = ""

    @property
    def runs(self) -> bool:
        """Whether readers can type it."""
        return self.language in RUN and self.not_run is None


def blocks(page: str, text: str) -> list[Block]:
    """The page's blocks; raises `ValueError` for one that says neither what it is nor why it is not run."""
    found, said = list[Block](), dict[str, str]()
    for token in MarkdownIt().parse(text):
        if token.type == "html_block":
            said |= dict(COMMENT.findall(token.content))
            continue
        if token.type == "code_block":
            raise ValueError(f"{page}:{token.map[0] + 1 if token.map else 0}: fence it and say its language")
        if token.type == "fence" and not token.info.startswith("{"):
            found.append(_block(page, token.info.strip(), token.content, (token.map or [0])[0] + 2, said))
        said = {}
    return found


def _block(page: str, language: str, text: str, line: int, said: dict[str, str]) -> Block:
    if language not in RUN | SHOWN:
        raise ValueError(f"{page}:{line}: '{language}' is none of {', '.join(sorted(RUN | SHOWN))}")
    if "not run" in said and not said["not run"]:
        raise ValueError(f"{page}:{line}: say why it is not run: <!-- not run: a GPU -->")
    if language == "text" and re.search(r"^(\$ |maskmill\S* (?!.*\[OPTIONS\]))", text, re.MULTILINE):
        raise ValueError(f"{page}:{line}: a command is of the language sh or console")
    marks = ["in the background" in said, "figures differ" in said]
    return Block(page, line, language, text, said.get("not run"), *marks, said.get("first", ""))


def runnable(page: str) -> list[Block]:
    """The blocks of a page of the repository that run; of one with a wrong block, which is a test's matter, none."""
    with suppress(ValueError):
        return [each for each in blocks(page, (ROOT / page).read_text(encoding="utf-8")) if each.runs]
    return []


def script(found: list[Block], work: Path) -> str:
    """The page as one script; what `console` blocks print goes to files in `work`, named by their lines."""
    parts = [BEGINNING]
    for kind, group in groupby((each for each in found if each.runs), key=lambda each: each.language):
        together = list(group)
        parts += [_python(together, work)] if kind == "python" else [_shell(each, work) for each in together]
    return "\n".join(parts)


def _shell(block: Block, work: Path) -> str:
    here = f"{block.first}\necho '@ {block.page}:{block.line}' >&2\n"
    if block.background:
        log = shlex.quote(str(work / f"{block.line}.log"))
        return f'{here}set -m\n(\n{block.text}\n) >{log} 2>&1 &\nstarted+=("$!")\nset +m'
    if block.language == "sh":
        return here + block.text
    return here + "\n".join(_watched(command, work / str(line)) for line, command, _ in transcript(block))


def _watched(command: str, output: Path) -> str:
    """A command whose output goes to a file and whose exit code the next one sees as `$?`."""
    return f"set +e\n(exit ${{code:-0}})\n{{ {command}\n}} >{shlex.quote(str(output))} 2>&1\ncode=$?\nset -e"


def _python(together: list[Block], work: Path) -> str:
    """Blocks that follow each other are one program, whose lines have the page's numbers."""
    program = ""
    for each in together:
        program += "\n" * (each.line - 1 - program.count("\n")) + each.text
    file = work / f"{together[0].line}.py"
    file.write_text(program, encoding="utf-8")
    before = "\n".join(each.first for each in together)
    return f"{before}\necho '@ {together[0].page}:{together[0].line}' >&2\npython {shlex.quote(str(file))}"


def transcript(block: Block) -> list[tuple[int, str, str]]:
    """`$ date\\nFri …` as `[(line, "date", "Fri …")]`; `> ` goes on with a command."""
    entries = list[tuple[int, str, str]]()
    for number, line in enumerate(block.text.splitlines(), block.line):
        if line.startswith("$ "):
            entries.append((number, line[2:], ""))
        elif line.startswith("> ") and entries and not entries[-1][2]:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]}\n{line[2:]}", "")
        else:
            where, command, shown = entries[-1]
            entries[-1] = (where, command, f"{shown}{line}\n")
    return entries


def agrees(shown: str, printed: str, *, figures_differ: bool = False) -> bool:
    """Whether what was printed is what the page shows; `…` stands for anything, and space at line ends for nothing."""
    anything = {"…": ".*"} | ({"0": NUMBER, " ": " +"} if figures_differ else {})
    parts = re.split(f"(…|{NUMBER}| +)" if figures_differ else "(…)", _even(shown))
    pattern = "".join(anything.get("0" if each[:1].isdigit() else each[:1], re.escape(each)) for each in parts)
    return re.fullmatch(pattern, _even(printed), re.DOTALL) is not None


def _even(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
