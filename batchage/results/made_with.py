"""What a scan is made with, beside what an earlier one was."""

from __future__ import annotations

from typing import Any

from batchage.errors import UsageError
from batchage.places import AnyPath

_NOT_COMPARED = ("version", "mode", "settings", "disks")


def require_same(
    output: AnyPath, earlier: dict[str, Any], about: dict[str, Any], what: str
) -> None:
    """See that a scan can go on from another one, whose version may differ.

    Args:
        output: Where both write.
        earlier: What the other one was made with.
        about: What this one is made with.
        what: The other one, as the error calls it.

    Raises:
        UsageError: They were made with different settings.
    """
    flat = []
    for source in (earlier, about):
        settings = source.get("settings")
        nested = settings if isinstance(settings, dict) else {}
        flat.append({k: v for k, v in {**source, **nested}.items() if k not in _NOT_COMPARED})
    differing = [
        f"{name} {flat[0].get(name)!r} instead of {value!r}"
        for name, value in flat[1].items()
        if flat[0].get(name) != value
    ]
    if flat[0].get("results_version") != flat[1].get("results_version"):
        raise UsageError(
            f"{output}: {what} was made by a version of batchage whose rows differ "
            "a little; use --overwrite to scan anew"
        )
    if differing:
        raise UsageError(
            f"{output}: {what} was made with {', '.join(differing)}; give the "
            "same, or use --overwrite to scan anew"
        )
