"""Model bundles: a folder with `model.json` and `weights.h5`, data only, checked before use.

`model.json` names the kind of network, its settings and the SHA-256 of the weights; the network
itself is built by code of this package, so that nothing in a bundle is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from batchage.errors import BatchageError, BundleError, UsageError

FORMAT = 1
WEIGHTS_FILE = "weights.h5"
SPEC_FILE = "model.json"
NOTICE_FILE = "NOTICE"
RANGES = "activation_ranges"
"""What `model.json` calls the smallest and largest values that go into convolutions, for int8."""
SMALLEST, LARGEST = 1e-6, 1e6
"""How wide a range must at least be, and how far from 0 it may reach."""
_NOTES = frozenset({"description", "training", "exported_with"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: Its folder.
        name: The folder's name, for example `vgg16-utkface`.
        kind: The network that `spec` describes, for example `vgg16-age-gender`.
        spec: Everything in `model.json`.
        sha256: Of the weights file.
    """

    path: Path
    name: str
    kind: str
    spec: Mapping[str, Any]
    sha256: str

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.path / WEIGHTS_FILE

    @property
    def activation_ranges(self) -> dict[str, tuple[float, float]]:
        """The smallest and largest value that go into each convolution which int8 rounds.

        Raises:
            BundleError: They are no such numbers.
        """
        try:
            found = {
                str(name): (float(low), float(high))
                for name, (low, high) in self.spec[RANGES].items()
            }
            if not all(-LARGEST <= low <= 0 < high <= LARGEST for low, high in found.values()):
                raise ValueError(f"from 0 or below to above 0, within {LARGEST:g}")
            if any(high - low < SMALLEST for low, high in found.values()):
                raise ValueError(f"at least {SMALLEST:g} wide")
        except KeyError:
            return {}
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BundleError(
                f"{self.path}: model.json has no usable {RANGES} ({error!r}); export it again"
            ) from None
        return found

    @property
    def model_id(self) -> str:
        """Name, and hash of all that decides what it says: the table's `model_id` column."""
        decisive = {key: value for key, value in self.spec.items() if key not in _NOTES}
        text = json.dumps(decisive, sort_keys=True)
        return f"{self.name}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def models_folder() -> Path:
    """The folder of the shipped bundles: inside the installed package, or in the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def shipped_bundles() -> list[Path]:
    """Folders of the bundles that came with this installation, sorted by name."""
    return sorted(path.parent for path in models_folder().glob(f"*/{SPEC_FILE}"))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_bundle(name_or_path: str | Path, kind: str) -> Bundle:
    """Find and verify a bundle.

    Args:
        name_or_path: Name of a shipped bundle, or the path of a bundle's folder.
        kind: The kind of network that is needed.

    Raises:
        UsageError: It doesn't exist.
        BundleError: It is damaged, or is of another kind or format.
    """
    path = Path(name_or_path)
    if not path.is_dir() and path.name == str(name_or_path):
        path = models_folder() / path
    if not path.is_dir():
        known = ", ".join(p.name for p in shipped_bundles() if _kind_of(p) == kind) or "none"
        raise UsageError(f"{name_or_path}: no such model bundle; shipped bundles: {known}")
    try:
        spec = json.loads((path / SPEC_FILE).read_text(encoding="utf-8"))
        found_kind, file_format, expected = spec["kind"], spec["format"], spec["weights"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(
            f"{path / SPEC_FILE}: not a readable bundle description ({error!r}); export it again"
        ) from None
    if file_format != FORMAT:
        raise BundleError(f"{path}: bundle format {file_format!r}, this version reads {FORMAT}")
    if found_kind != kind:
        raise BundleError(f"{path}: a bundle of kind {found_kind!r}, {kind!r} is needed here")
    weights = path / WEIGHTS_FILE
    try:
        actual = _sha256(weights)
    except OSError as error:
        raise BundleError(f"{weights}: can't be read ({error.strerror}); export it again") from None
    if actual != expected:
        raise BundleError(
            f"{weights}: the SHA-256 is not the one in {SPEC_FILE}; "
            "the file is damaged or was replaced, restore the bundle"
        )
    return Bundle(path.resolve(), path.resolve().name, kind, spec, actual)


def _kind_of(path: Path) -> str:
    try:
        return str(json.loads((path / SPEC_FILE).read_text(encoding="utf-8"))["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def describe(path: Path) -> str:
    """One line about a bundle, verified: its kind and hash, or what is wrong with it."""
    try:
        bundle = load_bundle(path, _kind_of(path))
    except BatchageError as error:
        return f"damaged: {error}"
    return f"{bundle.kind}, sha256 {bundle.sha256}"


def save_bundle(
    path: Path, kind: str, weights: Mapping[str, np.ndarray], spec: Mapping[str, Any]
) -> Bundle:
    """Write `weights.h5` and `model.json` into the folder `path`.

    Args:
        path: The bundle's folder; made where it is missing.
        kind: What `load_bundle` will be asked for.
        weights: Arrays by variable path, written in the type they have.
        spec: JSON-ready settings, added to the fields that every bundle has.
    """
    path.mkdir(parents=True, exist_ok=True)
    target = path / WEIGHTS_FILE
    write_weights(target, weights)
    description = {
        "format": FORMAT,
        "kind": kind,
        **spec,
        "weights": {"file": WEIGHTS_FILE, "sha256": _sha256(target)},
        "exported_with": {"python": platform.python_version()},
    }
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (path / SPEC_FILE).write_text(text, encoding="utf-8")
    return load_bundle(path, kind)


def derive_bundle(source: Bundle, path: Path, spec: Mapping[str, Any]) -> Bundle:
    """A bundle with the weights and terms of `source` and other settings.

    Args:
        source: Has weights and, where there is one, a `NOTICE`.
        path: The new bundle's folder, which must not be there yet.
        spec: Everything for `model.json`.

    Raises:
        OSError: It can't be written.
    """
    path.mkdir(parents=True)
    for name in (WEIGHTS_FILE, NOTICE_FILE):
        if (source.path / name).is_file():
            shutil.copyfile(source.path / name, path / name)
    text = json.dumps(dict(spec), indent=2, ensure_ascii=False) + "\n"
    (path / SPEC_FILE).write_text(text, encoding="utf-8")
    return load_bundle(path, source.kind)


def network_weights(network: Any, dtype: str = "float32") -> dict[str, np.ndarray]:
    """A Keras network's variables by path, as arrays of `dtype`."""
    return {v.path: np.asarray(v.value, dtype=dtype) for v in network.weights}


def write_weights(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write arrays by variable path into an HDF5 file, in the type they have."""
    with h5py.File(path, "w") as file:
        for name, array in weights.items():
            file.create_dataset(name, data=array)


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """What `write_weights` wrote, as float32.

    Raises:
        BundleError: The file can't be read.
    """
    weights: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            weights[name] = item[()].astype(np.float32)

    try:
        with h5py.File(path, "r") as file:
            file.visititems(keep)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise misfit(path, error) from None
    return weights


def misfit(path: Path, reason: object) -> BundleError:
    """What to raise for weights that are not those of the network."""
    return BundleError(
        f"{path}: the weights don't fit the network ({reason}); export the bundle again"
    )


def assign_weights(network: Any, path: Path) -> None:
    """Fill every weight of a Keras network from a file that `write_weights` wrote.

    Raises:
        BundleError: A weight is missing, has another shape, or the file has more.
    """
    stored = read_weights(path)
    for weight in network.weights:
        if weight.path not in stored:
            raise misfit(path, f"{weight.path} is missing")
        try:
            weight.assign(stored.pop(weight.path))
        except ValueError as error:
            raise misfit(path, error) from None
    if stored:
        raise misfit(path, f"no layer takes {min(stored)}")
