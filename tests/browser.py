"""A headless Chromium for pages on disk. What a page says on its console and asks of the network is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tools.browser import installed

FETCHED = Path(__file__).parents[1] / "build" / "browser"
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-precise-memory-info")
CURE = "no browser: `make build/browser`, or `apt-get install chromium`, or name one in CHROMIUM"


@contextmanager
def browser() -> Iterator[Browser]:
    """One that is installed, the one that `tools/browser.py` has fetched, or Playwright's own; fails without any."""
    fetched = FETCHED / "chromium"
    path = installed() or (str(fetched) if fetched.exists() else None)
    with sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            raise FileNotFoundError(CURE)
        libraries = {"LD_LIBRARY_PATH": f"{FETCHED}/lib"} if path == str(fetched) else {}
        found = playwright.chromium.launch(executable_path=path, args=list(QUIET), env={**os.environ, **libraries})
        try:
            yield found
        finally:
            found.close()


@dataclass
class Heard:
    """What a page has said and asked for."""

    problems: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)


@contextmanager
def opened(browser: Browser, report: Path, address: str = "", **context: Any) -> Iterator[Page]:
    """A report's page once it is ready; fails if it complained, or asked for anything outside of its folder."""
    window = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context})
    heard, page = Heard(), window.new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda message: heard.problems.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: heard.problems.append(f"error: {error}"))
    page.on("dialog", lambda dialog: heard.problems.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: heard.addresses.append(request.url))
    page.goto((report / "index.html").as_uri() + address)
    page.wait_for_selector("body[data-ready]")
    try:
        yield page
        assert not heard.problems, heard.problems
        here = (f"{report.as_uri()}/", "data:")
        foreign = [each for each in heard.addresses if not each.startswith(here)]
        assert not foreign, foreign
    finally:
        window.close()
