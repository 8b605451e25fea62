"""Queries the table of a Go worker with DuckDB.

    python query.py COMMAND [ARGUMENT]...
"""

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol

import duckdb
import pyarrow as pa
from vgi_rpc import Stream, StreamState, connect


class Shop(Protocol):
    """The contract, as main.go has it."""

    protocol_name: ClassVar[str] = "example.Shop.v1"
    protocol_version: ClassVar[str] = "1.0.0"

    def orders(self, rows: int) -> Stream[StreamState]:
        """The table, in batches. There is always one."""
        ...


@contextmanager
def reader(stream) -> Iterator[pa.RecordBatchReader]:
    """A producer as what DuckDB scans: batches are asked for as the query needs
    them. A query that ends early, and an error, cancel the stream."""
    batches = (b.batch for b in stream)
    first = next(batches)
    try:
        yield pa.RecordBatchReader.from_batches(first.schema, itertools.chain([first], batches))
    finally:
        stream.cancel()  # does nothing after the end


def main() -> None:
    db = duckdb.connect()
    with connect(Shop, sys.argv[1:]) as worker:
        # A replacement scan: DuckDB finds the variable by its name.
        with reader(worker.orders(rows=1_000_000)) as orders:
            best = db.sql("""
                select customer, count(*) as n, sum(amount) as total
                from orders group by customer order by total desc, customer limit 3
            """).fetchall()
        for customer, n, total in best:
            print(f"customer {customer}: {n} orders, {total:.2f}")

        # The same with a name of its own, joined with a table of DuckDB's.
        db.execute("create table customers as select range::int as id, 'C' || range as name from range(100)")
        with reader(worker.orders(rows=1000)) as scan:
            db.register("scan", scan)
            names = db.execute("""
                select distinct name from scan join customers on customer = customers.id
                where amount > 249 order by name
            """).fetchall()
            db.unregister("scan")
        print("big spenders:", ", ".join(name for (name,) in names))

        # A query that needs a few rows of many reads a few batches.
        with reader(worker.orders(rows=10_000_000_000)) as orders:
            print("first:", db.sql("select id from orders limit 3").fetchall())

        # As a value, without SQL that names it, and out again as Arrow.
        with reader(worker.orders(rows=200_000)) as orders:
            relation = duckdb.from_arrow(orders, connection=db)
            summary = relation.aggregate("count(*) as rows, max(id) as last").to_arrow_table()
        print("rows:", summary.to_pylist())


if __name__ == "__main__":
    main()
