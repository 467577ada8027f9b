"""Folders of what other programs made of photos, or keep of deleted ones."""

from __future__ import annotations

_NAMES = frozenset(
    [
        # Synology, QNAP.
        "@eadir",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        ".@__thumb",
        # Windows.
        "$recycle.bin",
        "recycler",
        # Macs; archives that they pack.
        ".appledouble",
        ".trash",
        ".trashes",
        "__macosx",
        # Linux, Android, and programs for photos.
        ".dtrash",
        ".thumbnails",
        ".thumbs",
    ]
)
_STARTS = (".trash-", "appdata_")
"""Of Linux's for each user, and of Nextcloud's previews."""
_ENDS = (".lrdata",)
"""Previews of Lightroom."""
_LIBRARIES = (
    ".photoslibrary",
    ".photolibrary",
    ".migratedphotolibrary",
    ".aplibrary",
    ".cocatalog",
)
"""Of Apple's Photos, iPhoto and Aperture, and of Capture One."""
_ORIGINALS = frozenset(["originals", "masters"])


def derivative_kind(name: str, parent: str) -> str | None:
    """What a folder is counted as, by its name and its parent's; None if it may hold photos."""
    plain, above = name.lower(), parent.lower()
    if library := next((end for end in _LIBRARIES if above.endswith(end)), None):
        return None if plain in _ORIGINALS else f"{library}/{name}"
    if plain in _NAMES:
        return name
    kinds = [f"{start}*" for start in _STARTS if plain.startswith(start)]
    kinds += [f"*{end}" for end in _ENDS if plain.endswith(end)]
    return next(iter(kinds), None)
