"""Reads what W&B writes offline."""

import struct
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER, FULL, LAST = 1 << 15, struct.Struct("<IHB"), 1, 4


def ended(file: Path) -> bool:
    """Whether the last record says that the run has ended."""
    records = wandb_records(file)
    return bool(records) and records[-1].WhichOneof("record_type") == "exit"


def wandb_records(file: Path) -> list[Any]:
    """The records of a file: the log format of LevelDB after a header of seven bytes."""
    data, position, parts, records = file.read_bytes(), 7, b"", []
    while position < len(data):
        if 0 < (rest := -position % BLOCK) < HEADER.size:  # too short for a header: padding
            position += rest
            continue
        _, length, kind = HEADER.unpack_from(data, position)
        position += HEADER.size
        parts += data[position : position + length]
        position += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            records.append(record)
            parts = b""
    return records
