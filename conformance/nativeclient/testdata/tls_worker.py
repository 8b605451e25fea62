"""The reference worker with a certificate that is given: CERT KEY ARGUMENT…

By itself the worker makes its certificate with the package cryptography, which
is not part of the environment of the conformance suite.
"""

import sys
from pathlib import Path

from vgi_rpc.conformance import client_worker

cert, key = (Path(path) for path in sys.argv[1:3])
client_worker._write_tls_material = lambda directory, host: (cert, key)
sys.argv[1:] = sys.argv[3:]
client_worker.main()
