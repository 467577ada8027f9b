"""Labelled pictures become a manifest; what resembles a test picture is not trained on."""

import csv

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from batchage.align import TEMPLATE
from batchage.errors import UsageError
from batchage.evaluation import Label, read_csv
from batchage.types import Detections
from tests.builders import manifest_row
from train.manifest import SCHEMA
from train.near_copies import (
    WHOLE_BITS,
    aligned_crop,
    difference_hash,
    groups_of,
    near_pairs,
    separate,
)
from train.prepare import join_manifests, prepare, split_groups

LANDMARKS = TEMPLATE * np.float32(64 / 200)


class FixedDetector:
    """Finds one face in every picture, always at the same place."""

    def detect(self, images):
        box = np.array([[0, 0, 64, 64]], np.float32)
        return [Detections(box, LANDMARKS[None], np.ones(1, np.float32)) for _ in images]


def drawn(seed):
    """A picture with shapes large enough to survive being shrunk."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))


def row(folder, seed, name=None, noise=0, **more):
    """A manifest's row of a picture that is drawn by its seed, with some noise."""
    picture = drawn(seed).astype(int)
    picture += np.random.default_rng(seed + 1000).integers(-noise, noise + 1, picture.shape)
    picture = picture.clip(0, 255).astype(np.uint8)
    path = folder / f"{name or seed}.png"
    Image.fromarray(picture).save(path)
    crop_hash = difference_hash(aligned_crop(picture, LANDMARKS)).tobytes()
    return manifest_row(path, more.pop("age_min", 30.0), crop_hash=crop_hash, **more)


def separated(rows, agree=True):
    table, changes = separate(pa.Table.from_pylist(rows, SCHEMA), agree)
    return table.to_pylist(), changes


def test_near_duplicates_share_a_group_and_a_split():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
    brighter = np.clip(picture.astype(int) + 5, 0, 255).astype(np.uint8)
    others = [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(300)]
    hashes = np.stack([difference_hash(p) for p in [picture, *others, brighter]])
    groups = groups_of(near_pairs(hashes, WHOLE_BITS), len(hashes))
    assert groups[0] == groups[-1]
    assert len(set(groups)) == 301
    splits = split_groups(groups, seed=0)
    assert splits[0] == splits[-1]
    assert splits == split_groups(groups, seed=0)
    assert splits != split_groups(groups, seed=1)
    assert 0.8 < splits.count("train") / len(splits) < 0.88


def test_near_copies_of_test_pictures_leave_training_whatever_their_source(tmp_path):
    rows = [
        row(tmp_path, 1, split="test", source="a"),
        row(tmp_path, 1, "copy", noise=4, split="train", source="b"),
        row(tmp_path, 1, "again", noise=3, split="validation", source="a"),
        row(tmp_path, 2, split="train", source="b"),
        row(tmp_path, 3, split="test", source="b"),
        row(tmp_path, 3, "both", noise=4, split="test", source="a"),
    ]
    found, changes = separated(rows)
    splits = [r["split"] for r in found]
    assert splits == ["test", "left_out", "left_out", "train", "test", "test"]
    assert changes.by_test == {"a": 1, "b": 1}
    assert changes.pairs == 4


def test_hashes_alone_do_not_make_a_near_copy(tmp_path):
    rows = [row(tmp_path, 1, split="test"), row(tmp_path, 2)]
    rows[1]["crop_hash"] = rows[0]["crop_hash"]
    found, changes = separated(rows)
    assert [r["split"] for r in found] == ["test", "train"]
    assert changes.pairs == 0


def test_near_copies_stay_on_one_side(tmp_path):
    rows = [row(tmp_path, 1), row(tmp_path, 1, "copy", noise=4, split="validation")]
    found, changes = separated(rows)
    assert [r["split"] for r in found] == ["train", "train"]
    assert changes.to_training == 1


def test_labels_of_near_copies_agree_in_training_only(tmp_path):
    rows = [
        row(tmp_path, 1, age_min=30.0),
        row(tmp_path, 1, "older", noise=4, age_min=36.0),
        row(tmp_path, 2, gender="male"),
        row(tmp_path, 2, "other", noise=4, gender="female"),
        row(tmp_path, 3, age_min=20.0),
        row(tmp_path, 3, "apart", noise=4, age_min=40.0),
        row(tmp_path, 4, split="test", age_min=20.0),
        row(tmp_path, 4, "tested", noise=4, split="test", age_min=40.0),
        row(tmp_path, 5, age_min=20.0, age_max=29.0),
        row(tmp_path, 5, "range", noise=4, age_min=30.0, age_max=39.0),
        row(tmp_path, 6, age_min=25.0),
        row(tmp_path, 6, "within", noise=4, age_min=20.0, age_max=29.0),
        row(tmp_path, 7, age_min=20.0, age_max=29.0),
        row(tmp_path, 7, "shared", noise=4, age_min=25.0, age_max=34.0),
    ]
    found, changes = separated(rows)
    ages = [(r["age_min"], r["age_max"]) for r in found]
    assert ages[:2] == [(33.0, 33.0)] * 2
    assert ages[6:] == [
        (20.0, 20.0), (40.0, 40.0), *[(25.0, 34.0)] * 2, *[(25.0, 25.0)] * 2, *[(25.0, 29.0)] * 2
    ]  # fmt: skip
    assert [r["split"] for r in found[2:6]] == ["left_out"] * 4
    assert (changes.agreed, changes.contradicting) == (8, 4)
    kept, changes = separated(rows, agree=False)
    assert [r["age_min"] for r in kept] == [r["age_min"] for r in rows]
    assert [r["split"] for r in kept] == [r["split"] for r in rows]


def labelled(folder, splits):
    """Pictures and a CSV file that states their splits and sources."""
    with (folder / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "age", "split", "part"])
        for number, split in enumerate(splits):
            Image.fromarray(drawn(number)).save(folder / f"{number}.png")
            table.writerow([f"{number}.png", 20 + number, split, "ab"[number % 2]])
    return read_csv(folder / "labels.csv")


def test_stated_splits_and_sources_are_kept(tmp_path):
    stated = ["test", "train", "validation", "train"] * 3
    table = prepare(labelled(tmp_path, stated), FixedDetector(), seed=0)
    assert table["split"].to_pylist() == stated
    assert table["source"].to_pylist() == ["a", "b"] * 6
    assert table.schema.equals(SCHEMA)
    drawn_anew = prepare(labelled(tmp_path, [""] * 12), FixedDetector(), seed=0)
    assert set(drawn_anew["split"].to_pylist()) <= {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train", "", "test"], r"1\.png: has no split, while others do"),
        (["train", "dev"], r"1\.png: split 'dev', give train, validation, test"),
    ],
)
def test_splits_that_cannot_be_used_are_explained(tmp_path, splits, message):
    with pytest.raises(UsageError, match=message):
        prepare(labelled(tmp_path, splits), FixedDetector(), seed=0)


def test_what_names_no_source_is_named_after_its_file(tmp_path):
    Image.fromarray(drawn(0)).save(tmp_path / "a.png")
    table = prepare([Label(tmp_path / "a.png", 3, 3)], FixedDetector(), 0, source="mine")
    assert table["source"].to_pylist() == ["mine"]


def test_joined_manifests_keep_their_groups_apart(tmp_path):
    tables = [
        pa.Table.from_pylist([row(tmp_path, n, duplicate_group=g) for n, g in rows], SCHEMA)
        for rows in (((1, 0), (2, 1)), ((3, 0), (4, 0)))
    ]
    assert join_manifests(tables)["duplicate_group"].to_pylist() == [0, 1, 2, 2]
