"""The documentation: its site, its page of commands, and the examples in it."""

import doctest
import re
import runpy
import shutil
import subprocess
import sys

import pytest

from batchage.config import DEFAULT_MODEL
from tests.command import PHOTOS, ROOT

BLOCK = re.compile(r"^```(?:python|pycon)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LABELS = "path,age\nportraits/collins-face.png,36\nportraits/hopper-grey.jpg,77\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


def test_pages_load_nothing_from_elsewhere(site):
    pages = {path: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert site / "models" / "vgg16-utkface" / "MODEL_CARD.html" in pages
    for path, page in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"?([^\s\">]+)", page)
        loaded += re.findall(r"<link[^>]* rel=\"?stylesheet[^>]* href=\"?([^\s\">]+)", page)
        assert loaded
        for source in loaded:
            assert not re.match(r"\w+:|//", source), (path, source)
            if not source.startswith("/"):
                assert (path.parent / source).is_file(), (path, source)


def test_the_reference_shows_defaults_as_values(site):
    page = (site / "python.html").read_text(encoding="utf-8")
    page = re.sub(r"<[^>]+>", "", page[page.index('id="batchage.ScanConfig"') :])
    signature = page[: page.index("Settings of a scan.")]
    assert f'model="{DEFAULT_MODEL}"' in signature
    assert not re.search(r"=[A-Z_]{3,},", signature)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_search_works_from_disk_and_asks_nothing_else(site):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.locator(".md-search__input").fill("register_detector")
        found = page.locator(".md-search-result__link").first
        found.wait_for(state="attached", timeout=30_000)
        assert "python.html" in found.get_attribute("href")
        assert asked
        assert all(url.startswith(site.as_uri()) for url in asked), asked
        browser.close()


def test_page_of_commands_is_up_to_date():
    made = runpy.run_path(str(ROOT / "scripts" / "commands_page.py"))["commands_page"]()
    is_same = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == made
    assert is_same, "docs/commands.md is stale: run python -m scripts.commands_page"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the examples' paths lead."""
    shutil.copytree(PHOTOS, tmp_path / "photos")
    (tmp_path / "labels.csv").write_text(LABELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_blocks(text):
    """Run all code blocks of a page, one after the other; those with prompts as doctests."""
    names = {}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    blocks = BLOCK.findall(text)
    assert blocks
    for block in blocks:
        if block.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(block, names, "page", None, 0)
            said = []
            runner.run(test, out=said.append, clear_globs=False)
            assert not runner.failures, "".join(said)
            names = test.globs
        else:
            exec(block, names)


def test_examples_of_the_python_page(folder):
    run_blocks((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))


def test_examples_of_the_readme(folder):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    run_blocks(readme.split("### In Python\n")[1].split("\n## ")[0])
    assert (folder / "report" / "index.html").is_file()
