"""Makes the Parquet files of the dataset tests: python make_parquet.py (needs pyarrow)."""

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

here = pathlib.Path(__file__).parent
rows = [
    {"question": f"What is {i} + {i}?", "answers": {"text": [str(2 * i)], "answer_start": [0]}, "input_ids": [i, i + 1, i + 2]}
    for i in range(7)
]
table = pa.Table.from_pylist(rows)
for codec in ["snappy", "zstd"]:
    pq.write_table(table, here / f"rows_{codec}.parquet", compression=codec, row_group_size=3)
