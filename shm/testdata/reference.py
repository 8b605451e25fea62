"""Moves batches through a shared segment with the reference implementation.

usage: reference.py create SIZE | attach NAME SIZE

Says the segment's name and size on the first line. Then it reads IPC streams of
one batch from stdin: a pointer is resolved, its region freed, and the batch
written back in a stream; any other batch is placed, and its pointer written back.
A batch with the key "verb" is a command instead: "header" answers with the
segment's table in hexadecimal under "table".
"""

import sys

import pyarrow as pa
from pyarrow import ipc

from vgi_rpc.shm import ShmSegment, is_shm_pointer_batch, maybe_write_to_shm, resolve_shm_batch


def answer(batch, metadata):
    with ipc.new_stream(sys.stdout.buffer, batch.schema) as writer:
        writer.write_batch(batch, custom_metadata=metadata)
    sys.stdout.buffer.flush()


def copied(batch):
    """A copy outside the segment: the region is about to be freed."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return ipc.open_stream(sink.getvalue()).read_next_batch()


def serve(segment):
    while True:
        try:
            reader = ipc.open_stream(sys.stdin.buffer)
        except (pa.ArrowInvalid, EOFError):
            return
        batch, metadata = reader.read_next_batch_with_custom_metadata()
        for _ in reader:
            pass
        if metadata is not None and metadata.get(b"verb") == b"header":
            n = 24 + 16 * segment.allocator.num_allocs
            answer(batch, pa.KeyValueMetadata({"table": bytes(segment.buf[:n]).hex()}))
        elif is_shm_pointer_batch(batch, metadata):
            batch, metadata, release = resolve_shm_batch(batch, metadata, segment)
            batch.validate(full=True)
            batch = copied(batch)
            release()
            answer(batch, metadata)
        else:
            answer(*maybe_write_to_shm(batch, metadata, segment))


def main():
    if sys.argv[1] == "create":
        segment = ShmSegment.create(int(sys.argv[2]))
    else:
        segment = ShmSegment.attach(sys.argv[2], int(sys.argv[3]), track=False)
    try:
        print(segment.name, segment.size, flush=True)
        serve(segment)
    finally:
        if sys.argv[1] == "create":
            segment.unlink()
        segment.close()


main()
