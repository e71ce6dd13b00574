"""Set before torch or llama.cpp is imported anywhere."""

from __future__ import annotations

import os

# Two spinning threads on tiny tensors starve the simulators that run beside them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
