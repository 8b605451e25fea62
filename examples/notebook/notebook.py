# %% [markdown]
# # A Go worker from a notebook
#
# Every cell begins with a `# %%` line: Jupyter (with jupytext), VS Code, PyCharm
# and Spyder open this file as a notebook, and `python notebook.py` runs it
# without one. The worker is that of `examples/dataframes`; `VGI_WORKER` may name
# another command.

# %%
import os
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Protocol

import polars as pl
import pyarrow as pa
from vgi_rpc import AnnotatedBatch, RpcError, Stream, StreamState, connect, describe_protocol, list_protocols

# %% [markdown]
# ## The contract
#
# The names and types of the Go side. Only what the notebook uses has to be here.


# %%
class Weather(Protocol):
    protocol_name: ClassVar[str] = "example.Weather.v1"
    protocol_version: ClassVar[str] = "1.0.0"

    def readings(self, stations: int, days: int) -> Stream[StreamState]: ...

    def wind_chill(self, wind_kmh: float) -> Stream[StreamState]: ...


# %% [markdown]
# ## The worker
#
# It lives until `cells.close()`: a notebook cannot put a `with` around its cells.

# %%
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
command = shlex.split(os.environ.get("VGI_WORKER", "")) or ["go", "-C", str(here.parent / "dataframes"), "run", "."]
cells = ExitStack()
worker = cells.enter_context(connect(Weather, command))

# %% [markdown]
# ## What does it have?

# %%
hosted = [p.name for p in list_protocols(worker)]
methods = sorted(describe_protocol(worker, Weather.protocol_name).methods)
print(hosted, methods)

# %% [markdown]
# ## A table

# %%
readings = pl.DataFrame(pa.Table.from_batches([b.batch for b in worker.readings(stations=4, days=31)]))
print(readings.shape, readings.columns, readings.schema["day"])

# %% [markdown]
# ## A function over a column, with state
#
# The stream stays open between cells. Until it is closed, it has the connection
# to itself: other calls wait for another worker.

# %%
stream = cells.enter_context(worker.wind_chill(wind_kmh=30.0))
for celsius in [-10.0, 0.0, 10.0]:
    answer = stream.exchange(AnnotatedBatch(pa.record_batch({"celsius": [celsius]}))).batch
    print(f"{celsius:.0f} °C feel like {answer.column('feels_like')[0].as_py():.1f} °C")
stream.close()

# %% [markdown]
# ## An error of the worker is an exception here
#
# It leaves the worker as it was.

# %%
try:
    list(worker.readings(stations=4, days=1000))
except RpcError as e:
    print(e.error_code, "-", e.error_message)
print(sum(b.batch.num_rows for b in worker.readings(stations=2, days=2)), "rows")

# %%
cells.close()
