"""Whole scans of photos on an S3 server, by the command."""

import json
import shutil
import signal
import time

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import PHOTOS, run, start
from tests.s3_server import running_proxy

PLACES = ("root", "modified_at", "seconds", "thumbnail")


@pytest.fixture(scope="module", autouse=True)
def small_look():
    """Where bytes come from is the point here, not how many faces are found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHAGE_SCAN_DETECT_SIZE", "320")
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The example photos, one with faces that are small when it is reduced, and two that fail."""
    folder = tmp_path_factory.mktemp("collection") / "photos"
    shutil.copytree(PHOTOS, folder)
    with Image.open(PHOTOS / "groups" / "contact-sheet.jpg") as image:
        image.resize((3600, 3024)).save(folder / "large.jpg")
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "empty.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def bucket(photos, s3_server):
    url = s3_server.bucket()
    s3_server.upload(photos, f"{url}/photos")
    return url


def images_of(table):
    return pq.read_table(table.with_suffix(".images.parquet")).to_pylist()


def comparable(table):
    """Both tables without what a place decides."""
    faces = pq.read_table(table)
    images = pq.read_table(table.with_suffix(".images.parquet"))
    return [
        each.drop_columns([name for name in PLACES if name in each.column_names]).to_pylist()
        for each in (faces, images)
    ]


def statuses(table):
    return {row["image_path"]: row["status"] for row in images_of(table)}


@pytest.fixture(scope="module")
def scanned(photos, bucket, tmp_path_factory):
    """Tables of the same photos here and there; the remote one's with thumbnails."""
    folder = tmp_path_factory.mktemp("tables")
    here, there = folder / "here.parquet", folder / "there.parquet"
    assert run("scan", photos, "-o", here).returncode == 3
    done = run("scan", f"{bucket}/photos", "-o", there, "--thumbnails", folder / "thumbs")
    assert done.returncode == 3, done.stderr
    return here, there


def test_rows_are_those_of_a_local_folder(scanned, bucket):
    here, there = scanned
    assert comparable(here) == comparable(there)
    assert {row["root"] for row in images_of(there)} == {f"{bucket}/photos"}
    assert all(row["modified_at"] for row in images_of(there))


def test_an_update_takes_over_what_has_not_changed(scanned, bucket, photos, s3_server, tmp_path):
    url = f"{s3_server.bucket()}/photos"
    s3_server.upload(photos, url)
    table = tmp_path / "r.parquet"
    arguments = ("scan", url, "-o", table, "--json", "-q")
    run(*arguments)
    s3_server.put(f"{url}/large.jpg", (photos / "large.jpg").read_bytes())
    s3_server.put(f"{url}/no-people/sky.jpg", (PHOTOS / "portraits" / "collins.jpg").read_bytes())
    with running_proxy(s3_server.endpoint) as proxy:
        assert run(*arguments, "--update", "--checksum", AWS_ENDPOINT_URL=proxy.endpoint)
    assert statuses(table)["no-people/sky.jpg"] == "ok"
    before = comparable(table)
    again = run("scan", url, "-o", table, "--update", "-q", "--json")
    assert json.loads(again.stdout)["photos"] == len(images_of(table))
    assert comparable(table) == before


def test_thumbnails_are_drawn_anew_from_the_bucket(scanned, tmp_path):
    _, there = scanned
    assert run("thumbnails", there, "-o", tmp_path / "thumbs").returncode == 0
    expected = {path.name: path.read_bytes() for path in (there.parent / "thumbs").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "thumbs").iterdir()} == expected
    assert expected


def test_thumbnails_of_a_local_scan_may_come_from_a_bucket(scanned, bucket, tmp_path):
    here, _ = scanned
    photos = f"{bucket}/photos"
    done = run("thumbnails", here, "-o", tmp_path / "thumbs", "--photos", photos)
    assert done.returncode == 0, done.stderr
    refused = run("thumbnails", here, "-o", tmp_path / "thumbs", "--photos", f"{bucket}/nowhere")
    assert refused.returncode == 2
    assert "no such folder of photos" in refused.stderr


def test_requests_that_fail_at_times_leave_no_trace(scanned, bucket, s3_server, tmp_path):
    """Each address fails twice before it answers; small faces ask for no second fetch."""
    failed: dict[tuple[str, str], int] = {}

    def fails(method, path):
        failed[method, path] = failed.get((method, path), 0) + 1
        return 503 if failed[method, path] <= 2 else None

    with running_proxy(s3_server.endpoint, fails=fails) as proxy:
        table = tmp_path / "r.parquet"
        done = run("scan", f"{bucket}/photos", "-o", table, AWS_ENDPOINT_URL=proxy.endpoint)
    assert done.returncode == 3, done.stderr
    assert comparable(table) == comparable(scanned[1])
    fetched = [method for method, path in proxy.requests if path.endswith("/large.jpg")]
    assert fetched == ["GET"] * 3


def test_what_may_not_be_read_or_is_gone_is_a_row(scanned, bucket, s3_server, tmp_path):
    def fails(method, path):
        if "portraits" in path and method == "GET" and "list-type" not in path:
            return 403
        return 404 if path.endswith("/coffee.jpg") else None

    with running_proxy(s3_server.endpoint, fails=fails) as proxy:
        table = tmp_path / "r.parquet"
        done = run("scan", f"{bucket}/photos", "-o", table, AWS_ENDPOINT_URL=proxy.endpoint)
    assert done.returncode == 3
    errors = {row["image_path"]: row["error"] for row in images_of(table)}
    assert errors["portraits/collins.jpg"] == "the file can't be read: permission denied"
    assert errors["no-people/coffee.jpg"] == "the file can't be read: no such file or directory"
    assert statuses(table)["no-people/coffee.jpg"] == "unreadable"
    assert statuses(table)["groups/contact-sheet.jpg"] == "ok"


@pytest.mark.parametrize(
    ("place", "environment", "message"),
    [
        ("s3://{}/nowhere", {}, "no such file or directory): check the address and the cred"),
        ("s3://no-such-bucket/photos", {}, "no such file or directory): check the address"),
        (
            "s3://{}/photos",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_CONFIG_FILE": "/dev/null"},
            "Unable to locate credentials): check the address and the credentials",
        ),
    ],
)
def test_an_input_that_cannot_be_read_is_one_sentence(
    bucket, tmp_path, place, environment, message
):
    place = place.format(bucket.removeprefix("s3://"))
    environment["AWS_EC2_METADATA_DISABLED"] = "true"
    done = run("scan", place, "-o", tmp_path / "r.parquet", **environment)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"batchage: '{place}' can't be scanned (")
    assert message in line


def test_a_list_may_mix_places(bucket, photos, tmp_path):
    listed = [f"{bucket}/photos/portraits", photos / "large.jpg", f"{bucket}/photos/gone.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(map(str, listed)))
    table = tmp_path / "r.parquet"
    done = run("scan", "--files-from", tmp_path / "list.txt", "-o", table)
    assert done.returncode == 3, done.stderr
    *good, large, gone = images_of(table)
    assert {row["root"] for row in good} == {f"{bucket}/photos"}
    assert len(good) == len(list((PHOTOS / "portraits").iterdir()))
    assert (large["root"], large["status"]) == (str(photos), "ok")
    assert (gone["image_path"], gone["status"]) == ("gone.jpg", "unreadable")


def test_an_interrupted_scan_waits_for_no_server_and_goes_on(scanned, bucket, s3_server, tmp_path):
    """The server hangs on one photo; what was saved before is not computed again."""
    table = tmp_path / "r.parquet"
    arguments = ("scan", f"{bucket}/photos", "-o", table, "--save-every", "0")

    def hangs(method, path):
        if path.endswith("/hopper-rotated.jpg"):
            time.sleep(600)

    with running_proxy(s3_server.endpoint, fails=hangs) as proxy:
        scan = start(*arguments, AWS_ENDPOINT_URL=proxy.endpoint)
        parts = tmp_path / "r.parquet.parts"
        while scan.poll() is None and not list(parts.glob("*.images.parquet")):
            time.sleep(0.1)
        scan.send_signal(signal.SIGINT)
        _, errors = scan.communicate(timeout=60)
    assert scan.returncode == 130
    assert "the same command goes on from there" in errors
    done = run(*arguments)
    assert done.returncode == 3
    assert "an interrupted scan goes on" in done.stderr
    assert comparable(table) == comparable(scanned[1])


def test_a_server_that_pauses_is_waited_for(scanned, bucket, s3_server, tmp_path):
    table = tmp_path / "r.parquet"
    s3_server.process.send_signal(signal.SIGSTOP)
    try:
        scan = start("scan", f"{bucket}/photos", "-o", table, "-q")
        time.sleep(3)
    finally:
        s3_server.process.send_signal(signal.SIGCONT)
    _, errors = scan.communicate(timeout=300)
    assert scan.returncode == 3, errors
    assert comparable(table) == comparable(scanned[1])
