"""Stands in for ``acs-assistant train from-sessions``: the same files, the same last words.

Each stage waits for a file ``go-STAGE`` in the folder of ``--gates``, so that a test decides when.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path


def option(name: str) -> Path:
    return Path(sys.argv[sys.argv.index(name) + 1])


def wait(gates: Path, stage: str) -> None:
    while not (gates / f"go-{stage}").exists():
        time.sleep(0.01)


def lines(folder: Path, rows: list[dict[str, float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.jsonl").open("a") as log:
        for row in rows:
            log.write(json.dumps(row) + "\n")


def main() -> None:
    out, gates = option("--out"), option("--gates")
    if (gates / "refuse").exists():
        print("Language model: acs-5m-q8.gguf: is not a model of ours.", file=sys.stderr)
        print("  Choose another: acs-assistant models list", file=sys.stderr)
        sys.exit(2)
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    (gates / "arguments.json").write_text(json.dumps(sys.argv[1:]))
    wait(gates, "imitate")
    lines(
        out / "sft", [{"step": 20 * n, "seconds": 12.0 * n, "loss": 2.0 / n} for n in range(1, 9)]
    )
    wait(gates, "reinforce")
    rewards = [{"step": n, "seconds": 30.0 * n, "reward": 0.8 + 0.05 * n, "met": 0.04 * n}
               for n in range(1, 11)]  # fmt: skip
    lines(out / "rl", [*rewards, {"step": 11, "seconds": 330.0, "reward": None, "met": None}])
    print("step 11  reward 1.28  met 40 %  4.5 min left", file=sys.stderr, flush=True)
    wait(gates, "evaluate")
    model = out / "acs-5m-q8-0a1b2c3d.gguf"
    model.write_bytes(b"GGUF")
    wait(gates, "end")
    worse = (gates / "worse").exists()
    after = {"met_at": {"1": 0.375, "5": 0.75}, "reward": 1.52 - worse}
    print(json.dumps({
        "model": str(model), "sessions": 2, "right": 5, "rejected": 1, "draws": 24,
        "before": {"met_at": {"1": 0.25, "5": 0.75}, "reward": 1.41}, "after": after,
        "adopted": "", "not_worse": not worse,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
