"""Where bytes are: on this machine, or wherever fsspec reaches."""

from batchage.places.ahead import DaemonThreads, each_ahead, result_of
from batchage.places.connections import N_REQUESTS, connected
from batchage.places.fetch import Fetched, Fetcher, FilesAhead
from batchage.places.files import (
    as_output_error,
    folder_at,
    open_input,
    read_bytes,
    read_object,
    write_json,
)
from batchage.places.folders import Folder, LocalFolder, put_into_place
from batchage.places.names import (
    LOCAL_SCHEMES,
    AnyPath,
    as_spelled,
    common_parts,
    is_url,
    local_path,
    locate,
    on_this_machine,
    scheme_of,
    without_password,
    without_slash,
)
from batchage.places.own import (
    MARKER,
    crop_name,
    is_made_name,
    listed_in,
    mark_folder,
    thumbnail_name,
)
from batchage.places.patience import patiently, reason_of
from batchage.places.reading import content_hash, content_hasher, read_local, read_remote
from batchage.places.stores import StoreFolder

__all__ = [
    "LOCAL_SCHEMES",
    "MARKER",
    "N_REQUESTS",
    "AnyPath",
    "DaemonThreads",
    "Fetched",
    "Fetcher",
    "FilesAhead",
    "Folder",
    "LocalFolder",
    "StoreFolder",
    "as_output_error",
    "as_spelled",
    "common_parts",
    "connected",
    "content_hash",
    "content_hasher",
    "crop_name",
    "each_ahead",
    "folder_at",
    "is_made_name",
    "is_url",
    "listed_in",
    "local_path",
    "locate",
    "mark_folder",
    "on_this_machine",
    "open_input",
    "patiently",
    "put_into_place",
    "read_bytes",
    "read_local",
    "read_object",
    "read_remote",
    "reason_of",
    "result_of",
    "scheme_of",
    "thumbnail_name",
    "without_password",
    "without_slash",
    "write_json",
]
