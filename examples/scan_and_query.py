"""Scan photos and ask the tables questions in SQL.

    python examples/scan_and_query.py                          # the example photos
    python examples/scan_and_query.py photos -o faces.parquet

Needs `pip install duckdb`. DuckDB reads both tables where they are, also far more rows than fit in
memory. Run again, it scans only what is new.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import duckdb

import batchage

PHOTOS = Path(__file__).parent / "photos"
QUERY = """
    SELECT regexp_replace(images.image_path, '/[^/]*$', '') AS folder,
           count(DISTINCT images.image_path) AS photos,
           count(face_index) AS faces,
           round(median(age_years), 1) AS median_age,
           round(avg((gender = 'female')::INT), 2) AS share_female
    FROM read_parquet($images) AS images
    LEFT JOIN read_parquet($faces) AS faces
    ON images.root = faces.root AND images.image_path = faces.image_path
       AND images.page IS NOT DISTINCT FROM faces.page
    GROUP BY folder ORDER BY faces DESC, folder
"""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Scan photos and query the tables with DuckDB.")
    parser.add_argument("photos", type=Path, nargs="?", default=PHOTOS)
    parser.add_argument("-o", "--output", type=Path, default=Path("query.parquet"))
    arguments = parser.parse_args()
    batchage.scan(arguments.photos, output=arguments.output, update=True)
    tables = {
        "faces": str(arguments.output),
        "images": str(arguments.output.with_suffix(".images.parquet")),
    }
    print(duckdb.sql(QUERY, params=tables))


if __name__ == "__main__":
    main()
