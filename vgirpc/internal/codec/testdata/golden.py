"""Writes and checks the golden files of the conformance dataclasses.

  golden.py write DIR   writes NAME.py.arrow for every value below
  golden.py check DIR   decodes NAME.go.arrow, which the Go test wrote, and
                        compares it with the same value and schema

It needs the reference implementation, vgi-rpc, on the path.
"""

import datetime as dt
import pathlib
import sys
from decimal import Decimal as D

import pyarrow as pa

from vgi_rpc.conformance._types import (
    AllTypes,
    BoundingBox,
    ConformanceHeader,
    ContainerWideTypes,
    DeepNested,
    EmbeddedArrow,
    NestedContainers,
    Point,
    Status,
    WideTypes,
    build_rich_header,
)

UTC = dt.timezone.utc
BATCH = pa.record_batch({"n": pa.array([1, None, 3], pa.int64()), "s": pa.array(["a", "b", None])})
SCHEMA = pa.schema([pa.field("k", pa.utf8(), nullable=False), pa.field("d", pa.dictionary(pa.int16(), pa.utf8()))])

ALL = dict(
    str_field="hello",
    bytes_field=b"\x00\x01\xff",
    int_field=-42,
    float_field=3.25,
    bool_field=True,
    list_of_int=[1, 2, 3],
    list_of_str=["a", "", "\u00fc"],
    dict_field={"a": 1, "b": 2},
    enum_field=Status.ACTIVE,
    nested_point=Point(1.0, 2.0),
    optional_str="opt",
    optional_int=None,
    optional_nested=Point(3.0, 4.0),
    list_of_nested=[Point(5.0, 6.0), Point(7.0, 8.0)],
    annotated_int32=32,
    annotated_float32=1.5,
    nested_list=[[1], [], [2, 3]],
    dict_str_str={"z": "1", "a": "2"},
)
EMPTY = dict(
    str_field="",
    bytes_field=b"",
    int_field=0,
    float_field=0.0,
    bool_field=False,
    list_of_int=[],
    list_of_str=[],
    dict_field={},
    enum_field=Status.PENDING,
    nested_point=Point(0.0, 0.0),
    optional_str=None,
    optional_int=7,
    optional_nested=None,
    list_of_nested=[],
    annotated_int32=-1,
    annotated_float32=0.0,
    nested_list=[],
    dict_str_str={},
)

VALUES = {
    "point": Point(1.5, -2.5),
    "bounding_box": BoundingBox(Point(1.0, 2.0), Point(3.0, 4.0), "box"),
    "all_types": AllTypes(**ALL),
    "all_types_empty": AllTypes(**EMPTY),
    "wide_types": WideTypes(
        int8_field=-128,
        int16_field=-32768,
        int32_field=-(2**31),
        uint8_field=255,
        uint16_field=65535,
        uint32_field=2**32 - 1,
        uint64_field=2**64 - 1,
        float32_field=0.25,
        date_field=dt.date(2024, 2, 29),
        timestamp_field=dt.datetime(1969, 7, 20, 20, 17, 40, 123456),
        timestamp_utc_field=dt.datetime(2024, 2, 29, 12, 30, 0, 1, tzinfo=UTC),
        time_field=dt.time(23, 59, 59, 999999),
        duration_field=dt.timedelta(days=-1, microseconds=1),
        decimal_field=D("-1234567890123456.7891"),
        large_string_field="large \u03bb",
        large_binary_field=b"\x00" * 3,
        fixed_binary_field=b"12345678",
    ),
    "container_wide_types": ContainerWideTypes(
        list_decimal=[D("1.0000"), D("-0.0001")],
        list_date=[dt.date(1970, 1, 1), dt.date(1900, 1, 1)],
        list_timestamp=[dt.datetime(2000, 1, 1)],
        optional_date=dt.date(2030, 12, 31),
        optional_decimal=None,
        optional_timestamp=dt.datetime(2001, 2, 3, 4, 5, 6),
        dict_str_decimal={"a": D("1.5000"), "b": D("2.2500")},
        frozenset_int=frozenset({3, 1, 2}),
        list_optional_int=[1, None, 3],
    ),
    "container_wide_types_null": ContainerWideTypes(
        list_decimal=[],
        list_date=[],
        list_timestamp=[],
        optional_date=None,
        optional_decimal=D("9.9900"),
        optional_timestamp=None,
        dict_str_decimal={},
        frozenset_int=frozenset(),
        list_optional_int=[None],
    ),
    "deep_nested": DeepNested(
        list_of_lists_decimal=[[D("1.0000")], [], [D("2.0000"), D("3.5000")]],
        optional_list_date=[dt.date(2020, 1, 1)],
        dict_encoded_string="word",
        list_of_dict_encoded=["x", "y", "x"],
    ),
    "deep_nested_null": DeepNested([], None, "", []),
    "embedded_arrow": EmbeddedArrow(BATCH, SCHEMA),
    "nested_containers": NestedContainers(
        statuses=[Status.ACTIVE, Status.CLOSED, Status.ACTIVE],
        points=[Point(1.0, 2.0)],
        status_by_name={"one": Status.PENDING, "two": Status.CLOSED},
        frozen_statuses=frozenset({Status.CLOSED, Status.ACTIVE}),
        tagged_status=Status.CLOSED,
        tagged_point=Point(9.0, 8.0),
        tagged_batch=BATCH,
    ),
    "nested_containers_null": NestedContainers([], [], {}, frozenset(), None, None, None),
    "conformance_header": ConformanceHeader(5, "five"),
    "rich_header_2": build_rich_header(2),
    "rich_header_3": build_rich_header(3),
}


def check(directory):
    for name, want in VALUES.items():
        data = (directory / f"{name}.go.arrow").read_bytes()
        with pa.ipc.open_stream(data) as reader:
            batch = reader.read_next_batch()
            batch.validate(full=True)
            assert batch.schema.equals(type(want).ARROW_SCHEMA), f"{name}:\n{batch.schema}\n{type(want).ARROW_SCHEMA}"
        # Through the wire as well: a float32 field holds a rounded number then.
        want = type(want).deserialize_from_bytes(want.serialize_to_bytes())
        got = type(want).deserialize_from_bytes(data)
        assert got == want, f"{name}:\n{got}\n{want}"
    # Everything the codec can write, for pyarrow to validate in full.
    with pa.ipc.open_stream((directory / "every_kind.go.arrow").read_bytes()) as reader:
        batch = reader.read_next_batch()
        batch.validate(full=True)
        assert batch.num_rows == 6, batch.num_rows
    print("ok", len(VALUES))


if __name__ == "__main__":
    where = pathlib.Path(sys.argv[2])
    if sys.argv[1] == "check":
        check(where)
    else:
        for key, value in VALUES.items():
            (where / f"{key}.py.arrow").write_bytes(value.serialize_to_bytes())
