"""Reads a table of a Go worker into pandas and Polars, and applies a function of
the worker to a column.

    python dataframes.py COMMAND [ARGUMENT]...
"""

import sys
from typing import ClassVar, Protocol

import pandas as pd
import polars as pl
import pyarrow as pa
from vgi_rpc import AnnotatedBatch, Stream, StreamState, connect


class Weather(Protocol):
    """The contract, as main.go has it."""

    protocol_name: ClassVar[str] = "example.Weather.v1"
    protocol_version: ClassVar[str] = "1.0.0"

    def readings(self, stations: int, days: int) -> Stream[StreamState]:
        """One batch for each station."""
        ...

    def wind_chill(self, wind_kmh: float) -> Stream[StreamState]:
        """What temperatures feel like."""
        ...


def table(stream) -> pa.Table:
    """All batches of a producer. They are put side by side, not copied."""
    return pa.Table.from_batches([b.batch for b in stream])


def feels_like(worker: Weather, celsius: pa.ChunkedArray, wind_kmh: float) -> pa.ChunkedArray:
    """The worker's function over a column, one call for each chunk."""
    with worker.wind_chill(wind_kmh=wind_kmh) as stream:
        answers = [
            stream.exchange(AnnotatedBatch(pa.record_batch({"celsius": chunk}))).batch for chunk in celsius.chunks
        ]
    return pa.chunked_array([a.column("feels_like") for a in answers], pa.float64())


def with_pandas(worker: Weather) -> None:
    frame = table(worker.readings(stations=3, days=365)).to_pandas(types_mapper=pd.ArrowDtype)
    celsius = pa.chunked_array([pa.array(frame["celsius"])])
    frame["feels_like"] = pd.Series(pd.arrays.ArrowExtensionArray(feels_like(worker, celsius, 20.0)))
    for row in frame.groupby("station")[["celsius", "feels_like"]].mean().itertuples():
        print(f"mean of {row.Index}: {row.celsius:.2f}, feels like {row.feels_like:.2f}")


def with_polars(worker: Weather) -> None:
    frame = pl.DataFrame(table(worker.readings(stations=3, days=365)))
    celsius = pa.chunked_array([frame["celsius"].to_arrow()])
    frame = frame.with_columns(pl.Series("feels_like", feels_like(worker, celsius, 20.0)))
    coldest = frame.group_by("station").agg(pl.all().sort_by("celsius").first()).sort("station")
    for row in coldest.iter_rows(named=True):
        print(f"coldest of {row['station']}: {row['celsius']:.2f} on {row['day']}, feels like {row['feels_like']:.2f}")


def main() -> None:
    with connect(Weather, sys.argv[1:]) as worker:
        with_pandas(worker)
        with_polars(worker)


if __name__ == "__main__":
    main()
