"""The two tables of a scan: their schema, formats, places and writers."""

from batchage.write.base import FORMATS, TableFormat, TableWriter
from batchage.write.csv import FORMAT as CSV
from batchage.write.csv import unescape_cell
from batchage.write.paths import OutputPaths, files_of, output_paths, require_place
from batchage.write.read import read_columns, read_pieces, read_table
from batchage.write.schema import (
    FACES,
    IMAGES,
    age_thresholds_in,
    age_thresholds_of,
    face_values,
    faces_batch,
    images_batch,
    modified_at,
    tables_with,
)
from batchage.write.tables import Rows, TablesWriter

__all__ = [
    "CSV",
    "FACES",
    "FORMATS",
    "IMAGES",
    "OutputPaths",
    "Rows",
    "TableFormat",
    "TableWriter",
    "TablesWriter",
    "age_thresholds_in",
    "age_thresholds_of",
    "face_values",
    "faces_batch",
    "files_of",
    "images_batch",
    "modified_at",
    "output_paths",
    "read_columns",
    "read_pieces",
    "read_table",
    "require_place",
    "tables_with",
    "unescape_cell",
]
