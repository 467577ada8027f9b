"""Make the pictures in `docs/images` from a scan of the example photos.

    python scripts/docs_images.py --chromium /usr/bin/chromium

Needs `pip install playwright` and Chromium.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
COMMAND = "scan examples/photos -o results.parquet --report report"
WIDTH = 72


def scan(folder: Path) -> str:
    """Scan into `folder`; what the command shows on a terminal."""
    (folder / "examples").symlink_to(ROOT / "examples")
    colours = {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
    result = subprocess.run(
        [sys.executable, "-m", "batchage", *COMMAND.split()],
        cwd=folder,
        env={**os.environ, **colours},
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return result.stderr


def draw_terminal(shown: str, path: Path) -> None:
    """What the command shows, as an SVG without rich's web font."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere)
        console.print(f"$ batchage {COMMAND}", style="bold", highlight=False)
        console.print(Text.from_ansi(shown))
        drawn = console.export_svg(title="batchage")
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


def photograph(page: Path, chromium: str, path: Path) -> None:
    """The whole report, as WebP."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 800})
        tab.goto(page.as_uri())
        tab.wait_for_load_state("networkidle")
        picture = Image.open(BytesIO(tab.screenshot(full_page=True)))
        browser.close()
    picture.convert("RGB").save(path, quality=80, method=6)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_terminal(scan(folder), IMAGES / "terminal.svg")
        photograph(folder / "report" / "index.html", arguments.chromium, IMAGES / "report.webp")
        (sheet,) = (folder / "report" / "thumbnails").glob("contact-sheet-*.jpg")
        sheet.replace(IMAGES / "annotated.jpg")


if __name__ == "__main__":
    main()
