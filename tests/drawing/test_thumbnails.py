"""Tests of the thumbnails: names, drawing and files."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from batchage.drawing import (
    LABEL_STYLES,
    CropWriter,
    ThumbnailWriter,
    draw,
    save_picture,
    thumbnails,
)
from batchage.errors import OutputError
from batchage.places import MARKER, thumbnail_name
from batchage.types import DecodedImage, ImageRecord, ImageRef, Status
from tests.builders import make_face, pictures_in

GREY = 128


def make_image(width: int, height: int, scale: float = 1.0) -> DecodedImage:
    shape = (max(1, round(height * scale)), max(1, round(width * scale)), 3)
    return DecodedImage(np.full(shape, GREY, np.uint8), width, height, content_hash="0")


def make_ref(relative: str = "a/b.jpg", root: str = "/photos") -> ImageRef:
    return ImageRef(path=Path(root) / relative, root=root, relative=relative)


def make_record(faces=(), **ref) -> ImageRecord:
    return ImageRecord(ref=make_ref(**ref), status=Status.OK, faces=list(faces))


def rgb(colour: str) -> np.ndarray:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)


def contrast_ratio(first: str, second: str) -> float:
    """WCAG 2 contrast of two colours, 1…21."""

    def luminance(colour: str) -> float:
        part = rgb(colour) / 255
        linear = np.where(part <= 0.03928, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def where(pixels: np.ndarray, colour: str) -> np.ndarray:
    return (pixels == rgb(colour)).all(axis=2)


def placed_plates(boxes, width: int, height: int) -> np.ndarray:
    faces = [make_face(box, index) for index, box in enumerate(boxes)]
    canvas = Image.new("RGB", (width, height))
    labels = thumbnails._placed_labels(np.array(boxes, np.float32), faces, canvas)
    return np.array([label.plate for label in labels]).reshape(-1, 4)


def overlap(first, second) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    return float(np.maximum(sides, 0).prod())


paths = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=40) | st.sampled_from(
    ["a.jpg", "A.jpg", "a.JPG", "a.png", "x/a.jpg", "X/a.jpg", "x_a.jpg", "é.jpg", "é.jpg"]
)


@given(paths, paths)
def test_names_of_different_files_differ_even_without_case(first, second):
    names = [thumbnail_name("/photos", path).casefold() for path in (first, second)]
    assert (names[0] == names[1]) == (first == second)


@given(
    st.text(max_size=300),
    st.text(max_size=300),
    st.none() | st.integers(1, 1000),
    st.sampled_from([".jpg", "-face012.png"]),
)
def test_a_name_is_one_safe_short_component(root, relative, page, suffix):
    name = thumbnail_name(root, relative, page, suffix)
    assert Path(name).name == name
    assert len(name.encode()) <= 120
    assert name.endswith(suffix)
    assert name.count(".") == 1
    assert not set(name) & set('/\\:*?"<>| ')
    assert not any(unicodedata.category(char).startswith("C") for char in name)
    assert not name.startswith((".", "-"))


def test_names_differ_by_root_and_by_where_the_root_ends():
    names = {
        thumbnail_name("/a", "b/c.jpg"),
        thumbnail_name("/a/b", "c.jpg"),
        thumbnail_name("/z", "b/c.jpg"),
    }
    assert len(names) == 3


def test_names_stay_readable():
    assert thumbnail_name("/r", "2019/Grandma's 80th.JPG").startswith("Grandma_s_80th-")
    assert thumbnail_name("/r", "家族/写真.jpg").startswith("写真-")
    assert thumbnail_name("/r", "...").startswith("image-")


@pytest.mark.parametrize("relative", ["x" * 250 + ".jpg", "写" * 250 + ".jpg", "\ud800.jpg"])
def test_odd_names_can_be_written(tmp_path, relative):
    name = CropWriter(tmp_path).write(make_ref(relative), 0, np.zeros((8, 8, 3), np.uint8))
    assert pictures_in(tmp_path) == [name]


@pytest.mark.parametrize(
    "relative", ["../x.jpg", "../../etc/x.jpg", "..", "/abs/x.jpg", "a\\..\\x"]
)
def test_a_thumbnail_never_leaves_its_folder(tmp_path, relative):
    folder = tmp_path / "deep" / "thumbs"
    name = ThumbnailWriter(folder).write(make_image(60, 40), make_record(relative=relative))
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {folder / name, folder / MARKER}


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (4000, 3000, (480, 640)),
        (3000, 4000, (640, 480)),
        (640, 480, (480, 640)),
        (500, 400, (400, 500)),
        (200, 100, (160, 320)),
        (100, 100, (200, 200)),
        (2560, 640, (160, 640)),
        (8000, 500, (120, 1920)),
        (500, 8000, (1920, 120)),
        (1, 1, (2, 2)),
    ],
)
def test_size_of_the_thumbnail(width, height, expected):
    assert draw(make_image(width, height), []).shape == (*expected, 3)


def test_the_side_can_be_chosen():
    assert draw(make_image(1000, 500), [], side=300).shape == (150, 300, 3)


def test_a_picture_without_faces_is_only_shrunk():
    assert (draw(make_image(1000, 800), []) == GREY).all()


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
def test_frames_are_at_the_faces_whatever_the_scale_of_the_decode(scale):
    image = make_image(4000, 3000, scale)
    pixels = draw(image, [make_face((2000, 1500, 2800, 2400))])
    female = LABEL_STYLES["female"].fill
    rows, columns = np.nonzero(where(pixels, female))
    factor = pixels.shape[1] / 4000
    assert abs(columns.min() - 2000 * factor) <= 4
    assert abs(columns.max() - 2800 * factor) <= 4
    assert abs(rows.max() - 2400 * factor) <= 4
    middle = pixels[
        int(1600 * factor) : int(2300 * factor), int(2100 * factor) : int(2700 * factor)
    ]
    assert (middle == GREY).all()


def test_the_decoded_pixels_are_left_alone():
    image = make_image(640, 480)
    image.pixels.setflags(write=False)
    pixels = draw(image, [make_face((200, 100, 300, 220))])
    assert (image.pixels == GREY).all()
    assert not (pixels == GREY).all()


def test_gender_is_shown_by_colour_and_by_text():
    box = (200, 100, 300, 220)
    female = draw(make_image(640, 480), [make_face(box, prob_female=0.8)])
    male = draw(make_image(640, 480), [make_face(box, prob_female=0.2)])
    assert where(female, LABEL_STYLES["female"].fill).any()
    assert not where(female, LABEL_STYLES["male"].fill).any()
    assert where(male, LABEL_STYLES["male"].fill).any()
    assert thumbnails._text(make_face(box, prob_female=0.8).prediction, full=True) == "female 34"
    assert thumbnails._text(make_face(box, prob_female=0.2).prediction, full=False) == "M 34"


@pytest.mark.parametrize(("age", "shown"), [(34.5, "35"), (2.5, "3"), (0.4, "0"), (-0.7, "0")])
def test_ages_are_rounded_half_up_and_never_negative(age, shown):
    prediction = make_face((0, 0, 1, 1), age=age).prediction
    assert thumbnails._text(prediction, full=True) == f"female {shown}"


def test_colours_have_contrast_and_differ_in_lightness_too():
    for style in LABEL_STYLES.values():
        assert contrast_ratio(style.fill, style.contrast) >= 4.5
    assert contrast_ratio(LABEL_STYLES["female"].fill, LABEL_STYLES["male"].fill) >= 2


@pytest.mark.parametrize(
    ("width", "height"), [(1920, 120), (120, 1920), (640, 480), (96, 96), (200, 60), (60, 200)]
)
@pytest.mark.parametrize("place", [(0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5)])
def test_labels_stay_inside_and_are_legible(width, height, place):
    side = min(width, height) * 0.5
    start = np.array([(width - side) * place[0], (height - side) * place[1]])
    plates = placed_plates([(*start, *(start + side))], width, height)
    assert len(plates) == 1
    assert (plates[:, :2] >= 0).all()
    assert (plates[:, 2:] <= (width, height)).all()
    assert plates[0, 3] - plates[0, 1] >= 11


def test_a_label_is_beside_its_face_and_not_on_it():
    box = np.array([200, 100, 300, 220])
    (plate,) = placed_plates([box], 640, 480)
    assert overlap(plate, box) == 0
    assert abs(plate[3] - box[1]) <= 6


def test_labels_of_a_row_of_faces_keep_off_each_other_and_off_the_faces():
    boxes = [(x, y, x + 30, y + 36) for y in (60, 120, 180) for x in range(20, 600, 42)]
    plates = placed_plates(boxes, 640, 260)
    assert len(plates) == len(boxes)
    pairs = [(a, b) for i, a in enumerate(plates) for b in plates[i + 1 :]]
    assert sum(overlap(a, b) for a, b in pairs) == 0
    assert sum(overlap(a, np.array(b)) for a in plates for b in boxes) == 0


def test_neighbours_in_full_contact_still_get_separate_labels():
    boxes = [(100, 100, 160, 170), (160, 100, 220, 170), (100, 170, 160, 240), (160, 170, 220, 240)]
    plates = placed_plates(boxes, 320, 320)
    assert sum(overlap(a, b) for i, a in enumerate(plates) for b in plates[i + 1 :]) == 0


crowds = st.lists(
    st.tuples(st.integers(0, 300), st.integers(0, 220), st.integers(6, 60), st.integers(6, 70)).map(
        lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])
    ),
    min_size=2,
    max_size=40,
)


def places_around(frame, extent, limits) -> np.ndarray:
    """Each whole pixel where a label can lie against a side of a frame, outside or inside."""
    (x1, y1, x2, y2), (width, height) = frame + np.array([0, 0, 1, 1]), extent
    xs, ys = np.arange(x1 - width, x2 + 1), np.arange(y1 - height, y2 + 1)
    rows = [(x, y) for y in (y1 - height, y2, y1, y2 - height) for x in xs]
    columns = [(x, y) for x in (x1 - width, x2) for y in ys]
    starts = np.clip(np.array(rows + columns), 0, limits - extent)
    return np.hstack([starts, starts + extent])


@given(crowds)
@settings(max_examples=60)
def test_a_label_covers_another_face_only_where_no_place_around_its_own_is_free(boxes):
    limits = np.array([320, 240])
    canvas = Image.new("RGB", tuple(limits))
    boxes = np.clip(np.array(boxes, np.float32), 0, np.tile(limits - 1, 2)).astype(np.float32)
    faces = [make_face(box, index) for index, box in enumerate(boxes)]
    labels = thumbnails._placed_labels(boxes, faces, canvas)
    order = np.argsort(thumbnails._areas(boxes), kind="stable")
    for turn, (index, label) in enumerate(zip(order, labels, strict=True)):
        others = np.delete(boxes, index, 0)
        if not any(overlap(label.plate, other) for other in others):
            continue
        assert label.text == "F 34"
        obstacles = np.vstack([others, *(earlier.plate for earlier in labels[:turn])])
        extent = label.plate[2:] - label.plate[:2]
        places = places_around(thumbnails._frame(boxes[index], canvas), extent, limits)
        starts = np.maximum(places[:, None, :2], obstacles[None, :, :2])
        ends = np.minimum(places[:, None, 2:], obstacles[None, :, 2:])
        shared = np.maximum(ends - starts, 0).prod(axis=2).sum(axis=1)
        assert shared.min() > 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_in_a_crowd_with_room_no_label_covers_a_face(seed):
    rng = np.random.default_rng(seed)
    cells = rng.permutation([(x, y) for x in range(0, 640, 80) for y in range(0, 480, 80)])[:25]
    starts = cells + rng.integers(0, 30, (25, 2))
    sides = rng.integers(20, 50, (25, 1))
    boxes = np.hstack([starts, starts + sides]).astype(np.float32)
    faces = [make_face(box, index) for index, box in enumerate(boxes)]
    labels = thumbnails._placed_labels(boxes, faces, Image.new("RGB", (640, 480)))
    order = np.argsort(thumbnails._areas(boxes), kind="stable")
    for index, label in zip(order, labels, strict=True):
        others = np.delete(boxes, index, 0)
        assert sum(overlap(label.plate, other) for other in others) == 0


@pytest.mark.parametrize("side", [200, 640, 2048, 8192])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_labels_can_be_read_where_the_picture_fits_a_screen(side, share):
    box = np.array([0.3, 0.3, 0.3 + share, 0.3 + share]) * side * 0.75
    canvas = Image.new("RGB", (side, side * 3 // 4))
    boxes = box[None].round().astype(np.float32)
    (label,) = thumbnails._placed_labels(boxes, [make_face(box)], canvas)
    assert label.font.size * min(1, 1920 / side) >= 11
    assert label.plate[2] - label.plate[0] <= side / 3


def test_a_small_picture_is_enlarged_once_whether_or_not_it_waited(tmp_path):
    image, record = make_image(100, 80), make_record([make_face((20, 20, 60, 70))])
    writer = ThumbnailWriter(tmp_path)
    writer.write(writer.reduced(image), record)
    (name,) = pictures_in(tmp_path)
    with Image.open(tmp_path / name) as file:
        assert file.size == (200, 160)


def test_small_faces_get_short_labels_and_large_ones_words():
    canvas = Image.new("RGB", (640, 480))
    for side, text in ((20, "F 34"), (120, "female 34")):
        box = (200, 200, 200 + side, 200 + side)
        (label,) = thumbnails._placed_labels(np.array([box], np.float32), [make_face(box)], canvas)
        assert label.text == text
        assert label.font.size >= thumbnails.MIN_FONT_SIZE


def test_a_picture_too_small_for_any_label_still_gets_its_frame():
    pixels = draw(make_image(8, 8), [make_face((1, 1, 7, 7))])
    assert pixels.shape == (16, 16, 3)
    assert where(pixels, LABEL_STYLES["female"].fill).any()


@pytest.mark.parametrize(
    "box", [(-80, -50, 120, 160), (560, 400, 900, 700), (700, 500, 900, 700), (50, 50, 50, 50)]
)
def test_boxes_beyond_the_picture_are_drawn_at_its_border(box):
    pixels = draw(make_image(640, 480), [make_face(box)])
    assert pixels.shape == (480, 640, 3)
    assert where(pixels, LABEL_STYLES["female"].fill).any()


def test_a_written_thumbnail_is_a_jpeg_without_metadata(tmp_path):
    writer = ThumbnailWriter(tmp_path / "thumbs", side=320)
    name = writer.write(make_image(1000, 800), make_record([make_face((300, 200, 500, 450))]))
    with Image.open(tmp_path / "thumbs" / name) as file:
        assert (file.format, file.size, file.mode) == ("JPEG", (320, 256), "RGB")
        assert not file.getexif()
        assert not {"exif", "icc_profile", "comment", "xmp"} & set(file.info)


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path):
    writer = ThumbnailWriter(tmp_path)
    for level in (10, 240):
        image = make_image(50, 50)
        image.pixels[:] = level
        name = writer.write(image, make_record())
    assert pictures_in(tmp_path) == [name]
    with Image.open(tmp_path / name) as file:
        assert np.asarray(file).mean() > 200


def test_crops_keep_their_pixels_and_each_face_its_own_file(tmp_path):
    writer = CropWriter(tmp_path)
    crops = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    names = [writer.write(make_ref(), index, crop) for index, crop in enumerate(crops)]
    assert len(set(names)) == 2
    for name, crop in zip(names, crops, strict=True):
        with Image.open(tmp_path / name) as file:
            assert file.format == "PNG"
            assert (np.asarray(file) == crop).all()


@pytest.mark.parametrize("writer", [ThumbnailWriter, CropWriter])
def test_a_folder_that_is_a_file_is_refused_by_name(tmp_path, writer):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(OutputError, match=r"taken.*choose another folder"):
        writer(tmp_path / "taken")


def test_a_folder_that_vanished_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match=r"a\.jpg.*check that its folder exists"):
        save_picture(np.zeros((4, 4, 3), np.uint8), tmp_path / "gone" / "a.jpg")


def test_a_failed_write_leaves_no_partial_file(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    with pytest.raises(OutputError):
        save_picture(np.zeros((4, 4, 3), np.uint8), tmp_path / "a.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]
