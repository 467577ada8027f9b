"""Lines of text: order, joined letters, fonts, code points, and what doesn't fit."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from batchage.drawing import lettering, printable
from batchage.drawing.lettering import draw, fit, lay_out

SIZE = 24


def seen(text):
    return "".join(piece.text for piece in lay_out(text, SIZE).pieces)


def pixels(line, width=None):
    canvas = Image.new("RGB", (max(width or line.width, 1) + 20, 2 * SIZE), "white")
    draw(canvas, line, (10, round(1.4 * SIZE)), "#000000")
    return np.asarray(canvas)


def make_font(path, codes, name="Test", draws=True):
    """A font whose glyphs are filled squares, or nothing."""
    pen = TTGlyphPen(None)
    if draws:
        corners = [(100, 0), (100, 800), (900, 800), (900, 0)]
        pen.moveTo(corners[0])
        for corner in corners[1:]:
            pen.lineTo(corner)
        pen.closePath()
    glyph = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap(dict.fromkeys(codes, "square"))
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": glyph})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 100)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture
def machine(monkeypatch):
    """A function that sets the fonts of the machine."""

    def has(*paths):
        monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: list(paths))
        lettering._system_faces.cache_clear()
        lettering._face_of.cache_clear()

    has()
    yield has
    lettering._system_faces.cache_clear()
    lettering._face_of.cache_clear()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.jpg", "plain name.jpg"),
        ("שלום.jpg", "jpg.םולש"),
        ("abc שלום.jpg", "abc םולש.jpg"),
        ("שלום 123", "123 םולש"),
        ("שלום (אב)", "(בא) םולש"),
        ("a (b) c", "a (b) c"),
    ],
)
def test_right_to_left_text_is_put_into_the_order_of_reading(text, shown):
    assert seen(text) == shown


def test_arabic_letters_join():
    assert seen("بيت") == "\ufe96\ufef4\ufe91"
    assert seen("لا") == "\ufefb"
    assert seen("مُ")[-1] == "\u064f" or seen("مُ")[0] == "\u064f"


def test_right_to_left_text_looks_the_same_without_a_layout_library(monkeypatch):
    text = "صورة عائلية (٢٠١٩) שלום 12.jpg"
    lettering._load.cache_clear()
    before = pixels(lay_out(text, SIZE))
    monkeypatch.setattr(ImageFont.core, "HAVE_RAQM", False)
    lettering._load.cache_clear()
    assert (pixels(lay_out(text, SIZE)) == before).all()
    lettering._load.cache_clear()


@pytest.mark.parametrize(
    ("text", "is_default"),
    [
        ("Plain.jpg", True),
        ("Ζωή", False),
        ("Семья", False),
        ("שלום", False),
        ("بيت گچ پژ ٹ", False),
    ],
)
def test_common_alphabets_need_no_font_of_the_machine(machine, text, is_default):
    pieces = [piece for piece in lay_out(text, SIZE).pieces if not piece.text.isspace()]
    assert pieces
    for piece in pieces:
        assert piece.face is not None
        assert (piece.face.path is None) == is_default


def test_what_no_font_has_is_shown_as_its_code_point(machine):
    line = lay_out("家x", SIZE)
    assert [(piece.text, piece.face is None) for piece in line.pieces] == [
        ("家", True),
        ("x", False),
    ]
    other = pixels(lay_out("族x", SIZE), line.width)
    assert (pixels(line) != 255).any()
    assert (pixels(line).shape != other.shape) or (pixels(line) != other).any()


def test_fonts_of_the_machine_are_used_where_they_have_the_character(machine, tmp_path):
    (tmp_path / "a-damaged.ttf").write_bytes(b"no font")
    everything = range(0x4E00, 0x5FFF)
    machine(
        str(tmp_path / "a-damaged.ttf"),
        str(tmp_path / "missing.ttf"),
        make_font(tmp_path / "b-last.ttf", everything, ".LastResort"),
        make_font(tmp_path / "c-blank.ttf", everything, draws=False),
        make_font(tmp_path / "e-right.ttf", [0x5BB6, 0x65CF]),
        make_font(tmp_path / "d-other.ttf", [0x65CF]),
    )
    line = lay_out("x家族中", SIZE)
    names = [piece.face and piece.face.path for piece in line.pieces]
    assert names[0] is None
    assert [name and name.rpartition("/")[2] for name in names[1:]] == [
        "e-right.ttf",
        "d-other.ttf",
        None,
    ]
    assert line.pieces[-1].face is None
    ink = (pixels(lay_out("家", SIZE)) == 0).all(axis=2)
    assert abs(ink.sum() - (0.8 * SIZE) ** 2) < 60


def test_marks_stay_with_their_letters_and_emoji_together(machine, tmp_path):
    family = "\U0001f468\u200d\U0001f469"
    machine(make_font(tmp_path / "emoji.ttf", [0x1F468, 0x1F469, 0x1F44D, 0x1F3FD]))
    (piece,) = lay_out(family, SIZE).pieces
    assert piece.text == family
    (piece,) = lay_out("\U0001f44d\U0001f3fd\ufe0f", SIZE).pieces
    assert piece.text == "\U0001f44d\U0001f3fd"
    assert seen("e\u0301") == "é"


def test_a_name_cannot_reorder_or_break_the_line():
    assert seen("evil\u202egpj.exe") == r"evil\u202egpj.exe"
    assert seen("a\nb\x1b[31m") == r"a\nb\x1b[31m"
    assert seen("a\u00a0b\u3000c") == "a b c"
    assert printable("\ud800") == r"\ud800"


def test_the_middle_is_left_out_of_what_is_too_long():
    text = "IMG_20190714_at_the_lake_with_everyone.jpeg"
    line = fit(text, SIZE, 300)
    shown = "".join(piece.text for piece in line.pieces)
    head, dots, tail = shown.partition("…")
    assert dots
    assert text.startswith(head)
    assert text.endswith(tail)
    assert tail.endswith(".jpeg")
    assert len(head) > 3
    assert 250 < line.width <= 300
    assert "…" not in "".join(piece.text for piece in fit(text, SIZE, 2000).pieces)


def test_the_ending_is_kept_before_the_middle(machine):
    line = fit("家族写真家族写真家族写真.jpg", SIZE, 250)
    shown = [piece.text for piece in line.pieces]
    assert shown[0] == "家"
    assert shown[-1] == "….jpg" or shown[-1].endswith(".jpg")
    assert line.width <= 250


any_text = st.text(max_size=80) | st.text(
    st.characters(min_codepoint=0x590, max_codepoint=0x8FF)
    | st.sampled_from("\u200c\u200d (1a)😀"),
    max_size=30,
)


@given(any_text, st.integers(0, 600), st.integers(9, 40))
@example("\u0301", 50, 20)
@example("\u200d\u200d", 50, 20)
@example("\u05d0\u200d\u05d1 \u0644\u064e\u0627", 50, 20)
@example("\U0001f1e9\U0001f1ea\U0001f1e9", 50, 20)
def test_any_text_fits_and_is_drawn(text, room, size):
    line = fit(text, size, room)
    assert line.width <= max(room, lay_out("…", size).width)
    canvas = Image.new("RGB", (700, 80), "white")
    draw(canvas, line, (20, 50), "#000000")
    assert (np.asarray(canvas) != 255).any() or not "".join(p.text for p in line.pieces).strip(
        lettering.JOINERS + " "
    )


@given(st.text(st.characters(exclude_categories=["Zs", "Mn", "Me", "Mc", "Cf"]), min_size=1))
def test_no_character_is_without_a_trace(text):
    for piece in lay_out(text, SIZE).pieces:
        for char in piece.text if piece.text.strip() else ():
            shown = pixels(lay_out(char, SIZE))
            assert (shown != 255).any(), ascii(char)


def test_very_long_text_is_cut_before_it_is_laid_out():
    line = lay_out("a" * 100_000 + ".jpg", SIZE)
    assert len("".join(piece.text for piece in line.pieces)) == lettering.MAX_CHARACTERS + 1
