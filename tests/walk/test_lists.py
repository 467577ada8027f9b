"""Lists of paths and URLs: what they are written in, what they mean, and what is no list."""

import codecs
import io
import os
import string
import tempfile
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from batchage.config import ScanFilter
from batchage.errors import UsageError
from batchage.places import locate
from batchage.walk import iter_images, iter_listed, open_list, read_list
from batchage.walk.roots import ListRoots, below
from tests.command import PHOTOS, run
from tests.walk.test_walk import make_files, relatives

MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
separators = st.sampled_from(["\n", "\r\n", "\r", "\0"])


def entries_of(data):
    return list(read_list(io.BytesIO(data)))


@pytest.mark.parametrize("text", [b"{0}/a.jpg\n\n{0}/gone.jpg\r\n", b"{0}/a.jpg\0{0}/gone.jpg\0"])
def test_list_of_files(tmp_path, text):
    make_files(tmp_path, "a.jpg")
    found = list(iter_listed(entries_of(text.replace(b"{0}", os.fsencode(tmp_path))), ScanFilter()))
    assert [Path(ref.path).name for ref in found] == ["a.jpg", "gone.jpg"]
    assert found[0].error is None
    assert found[1].error


# Names of one byte look like UTF-16 where they are many, and control characters like no text.
names = st.binary(min_size=3, max_size=20).filter(
    lambda name: name.strip() and not {*range(32), 127} & {*name}
)


@given(st.lists(names, min_size=1), separators, st.booleans(), st.booleans())
def test_any_list_gives_its_entries_back(names, separator, has_mark, ends_so):
    """What isn't blank comes back byte for byte, whatever separates it."""
    assume(not names[0].startswith((*MARKS.values(),)))
    text = separator.encode().join(names) + (separator.encode() if ends_so else b"")
    found = [os.fsencode(path) for path in entries_of(b"\xef\xbb\xbf" * has_mark + text)]
    assert found == names


@given(
    st.lists(st.text(st.characters(exclude_categories=["C"]), min_size=3, max_size=9)),
    separators,
    st.sampled_from([*MARKS]),
)
def test_a_mark_says_what_a_list_is_written_in(names, separator, encoding):
    names = [name for name in names if name.strip() and not name.startswith("\ufeff")]
    data = MARKS[encoding] + separator.join(names).encode(encoding)
    # UTF-16 that begins with NUL is UTF-32.
    assert entries_of(data) == names


@pytest.mark.parametrize("encoding", MARKS)
def test_long_lists_of_any_encoding(encoding):
    names = [f"/photos/{number}/日本 {number}.jpg" for number in range(9000)]
    data = MARKS[encoding] + "\r\n".join(names).encode(encoding)
    assert entries_of(data) == names


paths = st.text(string.ascii_letters + "/. éß", min_size=3, max_size=30).map(lambda p: f"/p{p}")


@given(st.lists(paths, min_size=1), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["le", "be"]))
def test_wide_text_without_a_mark_is_refused(names, separator, order):
    data = separator.join(names).encode(f"utf-16-{order}")
    with pytest.raises(UsageError, match=r"UTF-16 without its byte order mark.*in UTF-8"):
        entries_of(data)


def test_mostly_wide_characters_without_a_mark_are_refused():
    names = ["/写真/家族旅行二千二十四年夏休み海水浴.jpg"] * 3
    with pytest.raises(UsageError, match="UTF-16"):
        entries_of("\r\n".join(names).encode("utf-16-le"))


@pytest.mark.parametrize(
    "data",
    [
        next(PHOTOS.rglob("*.jpg")).read_bytes(),
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
        b"PK\x03\x04\x14\0\x06\0" + bytes(range(256)) * 4,
        b"SQLite format 3\0" + bytes(1000),
        b"x" * 200_000,
        codecs.BOM_UTF16_LE + b"a\0b",
        codecs.BOM_UTF16_BE + b"\xd8\x00\x00a",
        codecs.BOM_UTF32_LE + b"\xff" * 8,
    ],
)
def test_what_is_no_list_is_refused(data):
    with pytest.raises(UsageError, match=r"^the list: can't be a list of files \(.+\); give one"):
        entries_of(data)


@given(st.binary(max_size=300))
def test_any_bytes_as_a_list_give_rows_or_a_sentence(data):
    try:
        entries = entries_of(data)
    except UsageError as error:
        assert "can't be a list" in str(error)
        return
    # Not what is in whole folders, such as that of all disks.
    for ref in iter_listed(entry for entry in entries if not os.path.isdir(entry)):  # noqa: PTH112
        assert ref.error is not None or ref.size is not None


def test_a_list_of_another_program_scans_what_it_names(tmp_path):
    """As PowerShell writes it; taken for NUL-separated bytes it named the whole disk."""
    photo = next(PHOTOS.rglob("*.jpg"))
    make_files(tmp_path, "none.jpg")
    text = f"{tmp_path}/none.jpg\r\n{photo}\r\n"
    for name, encoding in (("list.txt", "utf-16"), ("bad.txt", "utf-16-le")):
        (tmp_path / name).write_bytes(text.encode(encoding))
    assert open_list(tmp_path / "list.txt") == [f"{tmp_path}/none.jpg", str(photo)]
    done = run("scan", "--files-from", tmp_path / "bad.txt", "-o", tmp_path / "r.csv")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "bad.txt: can't be a list" in done.stderr


@given(st.binary(max_size=30).filter(lambda name: b"\0" not in name))
def test_a_url_of_this_machine_is_its_path(name):
    path = Path("/photos/" + os.fsdecode(name).replace("/", "_"))
    for url in (path.as_uri(), path.as_uri().replace("//", "//localhost", 1)):
        assert locate(url) == path
    (ref,) = iter_listed([path.as_uri() + "/none.jpg"])
    assert str(ref.path) == os.path.abspath(path / "none.jpg")  # noqa: PTH100


def test_urls_of_this_machine_are_decoded(tmp_path):
    make_files(tmp_path, "a b.jpg", "100%.jpg", "é#?.jpg", "%41.jpg")
    urls = [f"file://{tmp_path}/a%20b.jpg", f"file:{tmp_path}/100%.jpg"]
    urls += [f"FILE://localhost{tmp_path}/%c3%a9%23%3F.jpg", f"local://{tmp_path}/%41.jpg"]
    found = ["a b.jpg", "100%.jpg", "é#?.jpg", "%41.jpg"]
    assert relatives(iter_images(urls)) == found
    assert relatives(iter_listed(urls)) == found
    assert str(locate("file:///a%20b/r.parquet")) == "/a b/r.parquet"


def test_a_url_of_another_machine_is_refused_and_in_a_list_a_row(tmp_path):
    make_files(tmp_path, "a.jpg")
    for place in ("file://server/photos/a.jpg", "file://photos"):
        with pytest.raises(UsageError, match=r"names no file of this machine; give a path"):
            iter_images([place])
        bad, good = iter_listed([place, tmp_path / "a.jpg"])
        assert bad.error == "names no file of this machine"
        assert (good.error, good.root) == (None, str(tmp_path))


def test_the_root_of_a_list_is_what_its_entries_have_in_common(tmp_path):
    make_files(tmp_path, "a/1.jpg", "b/1.jpg", "b/c/2.jpg")
    for entries, root, expected in (
        (["a/1.jpg", "b/1.jpg"], "", ["a/1.jpg", "b/1.jpg"]),
        (["b/1.jpg", "b/c/2.jpg", "b/1.jpg"], "b", ["1.jpg", "c/2.jpg", "1.jpg"]),
        (["b/1.jpg", "b/1.jpg"], "b", ["1.jpg", "1.jpg"]),
        (["a", "b/c/2.jpg"], "", ["a/1.jpg", "b/c/2.jpg"]),
        (["b", "b/c/2.jpg"], "b", ["1.jpg", "c/2.jpg", "c/2.jpg"]),
        (["b"], "b", ["1.jpg", "c/2.jpg"]),
        (["b/gone.jpg"], "b", ["gone.jpg"]),
    ):
        found = list(iter_listed(tmp_path / entry for entry in entries))
        assert {ref.root for ref in found} == {str(tmp_path / root)}, entries
        assert relatives(found) == expected


def test_the_root_of_a_relative_list_is_the_working_folder(tmp_path, monkeypatch):
    make_files(tmp_path, "here/a/1.jpg", "there/2.jpg")
    monkeypatch.chdir(tmp_path / "here")
    (ref,) = iter_listed(["a/1.jpg"])
    assert (ref.root, ref.relative) == (str(tmp_path / "here"), "a/1.jpg")
    for entries in (["a/1.jpg", "../there/2.jpg"], ["a/1.jpg", tmp_path / "there" / "2.jpg"]):
        found = list(iter_listed(entries))
        assert {ref.root for ref in found} == {str(tmp_path)}
        assert relatives(found) == ["here/a/1.jpg", "there/2.jpg"]


def test_the_roots_of_urls(memory):
    for name in ("p/a/1.jpg", "p/b/1.jpg", "q/1.jpg"):
        memory.pipe_file(f"/{name}", b"\xff\xd8\xff")
    for entries, expected in (
        (["p/a/1.jpg", "p/b/1.jpg", "q/1.jpg"], ["p:a/1.jpg", "p:b/1.jpg", "q:1.jpg"]),
        (["p/a/1.jpg"], ["p/a:1.jpg"]),
        (["p/a/1.jpg", "p/a/1.jpg"], ["p/a:1.jpg"] * 2),
        (["p/a/", "p/a/1.jpg"], ["p/a:1.jpg"] * 2),
        (["p/a", "p/b/gone.jpg"], ["p:a/1.jpg", "p:b/gone.jpg"]),
    ):
        found = list(iter_listed(f"memory://{entry}" for entry in entries))
        shown = [f"{ref.root.removeprefix('memory://')}:{ref.relative}" for ref in found]
        assert shown == expected, entries


parts = st.lists(st.sampled_from(["a", "b", "ab", "..", "é"]), min_size=1, max_size=4)


@given(st.lists(parts.map("/".join), min_size=1), st.booleans())
def test_no_two_files_of_a_list_have_one_relative_path(entries, are_absolute):
    with tempfile.TemporaryDirectory() as folder:
        above = f"{folder}/deep/deep/" if are_absolute else ""
        entries = [f"{above}{entry}.jpg" for entry in entries]
        found = list(iter_listed(entries))
    assert len({ref.root for ref in found}) == 1
    for entry, ref in zip(entries, found, strict=True):
        assert f"{ref.root.rstrip('/')}/{ref.relative}" == os.path.abspath(entry)  # noqa: PTH100
        assert ".." not in ref.relative.split("/")


def test_a_bucket_itself_has_a_root():
    roots = ListRoots.of(["s3://bucket", "s3://other/a//b.jpg"])
    assert roots.elsewhere == {"s3://bucket": "s3://bucket", "s3://other": "s3://other/a"}
    assert below("s3://other/a//b.jpg", "s3://other/a") == "/b.jpg"


@pytest.mark.parametrize(("listed", "there"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_unicode_spells_otherwise_are_found(tmp_path, monkeypatch, listed, there):
    (tmp_path / normalize(listed, "Zoé")).mkdir()
    name = normalize(listed, "Zoé") + "/" + normalize(there, "Jörg が.jpg")
    make_files(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    for place in (normalize(listed, name), normalize(there, f"{tmp_path}/{name}")):
        for walk in (iter_images, iter_listed):
            (ref,) = walk([place])
            assert ref.error is None
            assert f"{ref.root}/{ref.relative}" == f"{tmp_path}/{name}"
    (ref,) = iter_listed([normalize(listed, f"{tmp_path}/é/é.jpg")])
    assert ref.relative == normalize(listed, "é.jpg")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_globs_match_names_that_unicode_spells_otherwise(tmp_path, form):
    make_files(tmp_path, normalize("NFC", "é.jpg"), normalize("NFD", "ö.jpg"), "a.jpg")
    pattern = normalize(form, "[éö]*")
    assert len(list(iter_images([tmp_path], ScanFilter(include=(pattern,))))) == 2
    assert relatives(iter_images([tmp_path], ScanFilter(exclude=(pattern,)))) == ["a.jpg"]
