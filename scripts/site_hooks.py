"""Lets the documentation site show files that lie outside `docs/`; `mkdocs.yml` names this module.

The site's root is `docs/` with a few files of the repository beside it, at the paths they have
there. So links that work in the repository work on the site, but for the step out of `docs/`.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
SHOWN = (
    "CHANGELOG.md",
    "deploy/*.md",
    "deploy/*.yaml",
    "examples/*.ipynb",
    "examples/*.py",
    "examples/photos/README.md",
    "models/*/MODEL_CARD.md",
    "models/*/NOTICE",
    "models/*/plots/*.png",
    "train/*.md",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's files."""
    for pattern in SHOWN:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links to and from `docs/` fit the site's root."""
    is_in_docs = page.file.generated_by is None
    return markdown.replace("](../", "](") if is_in_docs else markdown.replace("](docs/", "](")
