"""How much a shared prompt saves: a group of eight against eight separate calls.

A random Llama of about 10 million parameters, histories of 600 tokens, answers of 150, nothing
cached at the start. A single text is drawn by one core, a group by all: the figure in processor
seconds leaves that advantage out. The last line of stdout is one JSON object.

    python tests/benchmarks/bench_llm.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "llm"))

from tiny_gguf import write_tiny_gguf

from acs_assistant.llm.batch import BatchSampler
from acs_assistant.llm.port import Sampling

GROUP, PROMPT, ANSWER = 8, 600, 150


def prompts(count: int, first: int) -> list[list[int]]:
    """Token ids that differ from the first one on, so that nothing cached can serve."""
    return [[400 + (first + 97 * p + 13 * i) % 4000 for i in range(PROMPT)] for p in range(count)]


def timed(work: Callable[[], int]) -> tuple[float, float, int]:
    """Wall seconds, processor seconds, tokens."""
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = work()
    return time.perf_counter() - wall, time.process_time() - cpu, tokens


def drawn(sampler: BatchSampler, ids: Sequence[Sequence[int]], count: int) -> int:
    sampling = Sampling(temperature=1.0, max_tokens=ANSWER, seed=1)
    groups = sampler.sample(list(ids), count, sampling)
    return sum(len(sample.tokens) for group in groups for sample in group)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quantization", default="Q8_0", choices=["F16", "Q8_0"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny_gguf(
            Path(folder) / "ten-million.gguf",
            quantization=options.quantization,
            vocab=4500,
            dim=288,
            layers=8,
            heads=6,
            hidden=768,
            context=4096,
        )
        with BatchSampler(path) as sampler:
            result = measure(sampler, options.rounds)
            result["parameters"] = sampler.weights.header.parameters
            result["quantization"] = options.quantization
    print(json.dumps(result))


def measure(sampler: BatchSampler, rounds: int) -> dict[str, float | str]:
    drawn(sampler, prompts(1, 7), GROUP)  # contexts are made here
    together, separate, rollouts = [], [], []
    for number in range(rounds):
        shift = 1000 * number
        together.append(timed(lambda s=shift: drawn(sampler, prompts(1, 1 + s), GROUP)))
        separate.append(
            timed(
                lambda s=shift: sum(
                    drawn(sampler, prompts(1, 11 + 31 * k + s), 1) for k in range(GROUP)
                )
            )
        )
        rollouts.append(timed(lambda s=shift: drawn(sampler, prompts(8, 500 + s), GROUP)))
        print(
            f"round {number + 1}: group {together[-1][0]:.2f} s, "
            f"separate {separate[-1][0]:.2f} s, 8 x 8 {rollouts[-1][0]:.2f} s",
            flush=True,
        )

    def median(runs: list[tuple[float, float, int]], column: int) -> float:
        return statistics.median(run[column] for run in runs)

    def rate(runs: list[tuple[float, float, int]], column: int) -> float:
        return statistics.median(run[2] / run[column] for run in runs)

    # Per token, since a random model ends some texts early.
    return {
        "group_speedup": round(rate(together, 0) / rate(separate, 0), 2),
        "group_speedup_processor": round(rate(together, 1) / rate(separate, 1), 2),
        "group_seconds": round(median(together, 0), 3),
        "separate_seconds": round(median(separate, 0), 3),
        "group_tokens_per_second": round(rate(together, 0)),
        "separate_tokens_per_second": round(rate(separate, 0)),
        "rollout_8x8_tokens_per_second": round(rate(rollouts, 0)),
    }


if __name__ == "__main__":
    main()
