# Copyright 2026 The DiWA for ROS 2 authors
# SPDX-License-Identifier: Apache-2.0
"""Columns of parquet files: numbers, lists of one length, and the table of tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diwa.errors import ConfigError


def arrow_column(values: np.ndarray) -> pa.Array:
    """A column: numbers, or lists of one length, from (T,) or (T, N)."""
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def column_array(column: pa.ChunkedArray, dtype: np.dtype) -> np.ndarray:
    """What `arrow_column` was given, also from lists of any length that are equally long."""
    length = len(column)
    combined = column.combine_chunks()
    if pa.types.is_list(combined.type) or pa.types.is_fixed_size_list(combined.type):
        values = np.asarray(combined.flatten().to_numpy(zero_copy_only=False), dtype)
        return values.reshape(length, -1)
    return np.asarray(combined.to_numpy(zero_copy_only=False), dtype)


def read_table(path: Path, **options: Any) -> pa.Table:
    """`pyarrow.parquet.read_table`; problems are `ConfigError`s that name the file."""
    try:
        return pq.read_table(path, **options)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file", hint="copy the data set again") from error
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(
            f"{path}: cannot be read as parquet", got=error, hint="copy it again"
        ) from error


def write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """Write texts and their numbers; the texts as index, as pandas stores and LeRobot reads it."""
    table = pa.table({"task_index": list(tasks.values()), "task": list(tasks)})
    entry = {"metadata": None, "field_name": "task", "name": "task"}
    number = {**entry, **dict.fromkeys(("field_name", "name"), "task_index")}
    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {**number, "pandas_type": "int64", "numpy_type": "int64"},
            {**entry, "pandas_type": "unicode", "numpy_type": "object"},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    schema = table.schema.with_metadata({"pandas": json.dumps(described)})
    pq.write_table(table.cast(schema), path)
