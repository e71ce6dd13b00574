"""Groups for many prompts at once: order, seeds, grammars, limits, cancelling."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_gguf import write_tiny_gguf

from acs_assistant.cancel import CancelledError, CancelToken
from acs_assistant.errors import ModelError
from acs_assistant.llm.batch import BatchSampler
from acs_assistant.llm.decoding import Context
from acs_assistant.llm.native import lib
from acs_assistant.llm.port import Rules, Sampling
from acs_assistant.llm.prefix_cache import PrefixCache

PROMPTS = [f"<|im_start|>user\nTask n{i:03d}<|im_end|>\n<|im_start|>assistant\n" for i in range(5)]
SAMPLING = Sampling(temperature=1.0, max_tokens=16, seed=4)
WORD = 'root ::= "{0}" [a-c]{{2,5}}'


@pytest.fixture(params=[1, 2, 3], ids=lambda lanes: f"{lanes} lanes")
def sampler(request: pytest.FixtureRequest, tiny_f16: Path) -> Iterator[BatchSampler]:
    with BatchSampler(tiny_f16, lanes=request.param, threads=request.param) as made:
        yield made


def test_each_prompt_gets_its_group(sampler: BatchSampler) -> None:
    grammars = [WORD.format(letter) for letter in "vwxyz"]
    groups = sampler.sample(PROMPTS, 4, SAMPLING, grammars)
    assert [len(group) for group in groups] == [4] * 5
    for letter, group in zip("vwxyz", groups, strict=True):
        assert all(sample.text.startswith(letter) for sample in group)
        assert len({sample.text for sample in group}) > 1


def test_tokens_are_those_of_the_text(sampler: BatchSampler) -> None:
    [group] = sampler.sample(PROMPTS[:1], 6, SAMPLING, WORD.format("a"))
    weights = sampler.weights
    for sample in group:
        assert sample.text == "".join(
            weights.piece(t).decode() for t in sample.tokens if t not in weights.end_tokens
        )
        assert sample.finish == "stop"
        assert sample.tokens[-1] in weights.end_tokens


def test_length_ends_without_an_end_token(sampler: BatchSampler) -> None:
    [group] = sampler.sample(PROMPTS[:1], 3, SAMPLING, 'root ::= "x"*')
    for sample in group:
        assert len(sample.tokens) <= 16
        if sample.finish == "length":
            assert len(sample.tokens) == 16
            assert not sampler.weights.end_tokens & set(sample.tokens)


def test_rules_without_a_rest_end_the_text_at_their_marker(sampler: BatchSampler) -> None:
    held = Rules('root ::= "aa" [ab]{4} "c" [ab]{30}', "c", None)
    [group] = sampler.sample(["a b"], 3, Sampling(temperature=1.0, max_tokens=60), held)
    for sample in group:
        assert sample.text.endswith("c") and sample.finish == "stop"
        assert len(sample.text) == 7
    parts = replace(held, rest=lambda text: f'root ::= "b{len(text)}"')
    [[whole]] = sampler.sample(["a b"], 1, Sampling(temperature=1.0, max_tokens=60), parts)
    assert whole.text.endswith("cb7")


def test_what_is_forgotten_leaves_no_trace(tiny_f16: Path) -> None:
    asked = [(PROMPTS[3] + "abc", 2), (PROMPTS[1], 3)]
    with BatchSampler(tiny_f16, lanes=1, threads=1) as used:
        for prompt in PROMPTS:
            used.sample([prompt + "a b c", prompt], 2, SAMPLING)
        used.forget()
        again = [used.sample([prompt], count, SAMPLING) for prompt, count in asked]
        assert used._lanes[0]._held.size
        used.forget()
        assert not used._lanes[0]._held.size
    with BatchSampler(tiny_f16, lanes=1, threads=1) as fresh:
        assert again == [fresh.sample([prompt], count, SAMPLING) for prompt, count in asked]


def test_ids_and_text_are_the_same_prompt(tiny_f16: Path) -> None:
    greedy = Sampling(temperature=0, max_tokens=8)
    with BatchSampler(tiny_f16, lanes=1) as sampler:
        ids = sampler.weights.tokenize(PROMPTS[0])
        assert sampler.sample([ids], 1, greedy) == sampler.sample(PROMPTS[:1], 1, greedy)


def test_a_group_is_the_same_alone_and_among_others(tiny_f16: Path) -> None:
    """Sequences that share a cache must not see each other."""
    greedy = Sampling(temperature=0, max_tokens=12)
    with BatchSampler(tiny_f16, lanes=2) as sampler:
        together = sampler.sample(PROMPTS, 3, greedy)
    alone = []
    for prompt in PROMPTS:
        with BatchSampler(tiny_f16, lanes=1) as sampler:
            alone.append(sampler.sample([prompt], 1, greedy)[0][0])
    assert [group[0].tokens for group in together] == [sample.tokens for sample in alone]
    assert all(sample == group[0] for group in together for sample in group)


def test_repeatable_from_a_fresh_start(tiny_f16: Path) -> None:
    runs = []
    for _ in range(2):
        with BatchSampler(tiny_f16, lanes=2) as sampler:
            runs.append(sampler.sample(PROMPTS, 4, SAMPLING))
    assert runs[0] == runs[1]


def test_seeds_differ_between_texts_and_calls(sampler: BatchSampler) -> None:
    first = sampler.sample(PROMPTS[:2], 8, SAMPLING)
    assert len({sample.tokens for group in first for sample in group}) == 16
    other = Sampling(temperature=1.0, max_tokens=16, seed=5)
    assert sampler.sample(PROMPTS[:2], 8, other) != first


def test_temperature_and_top_k_follow_the_logits(tiny_f16: Path) -> None:
    """top_k = 1 is greedy whatever the temperature; at T = 1 frequencies follow the softmax."""
    with BatchSampler(tiny_f16, lanes=1) as sampler:
        narrow = Sampling(temperature=5.0, top_k=1, max_tokens=6)
        greedy = Sampling(temperature=0.0, max_tokens=6)
        assert (
            sampler.sample(PROMPTS[:1], 2, narrow)[0][0].tokens
            == sampler.sample(PROMPTS[:1], 2, greedy)[0][0].tokens
        )


def test_masking_after_the_draw_keeps_the_distribution(tiny_f16: Path) -> None:
    """Shares of a, b, c under a grammar equal those of the free draw restricted to a, b, c."""
    with BatchSampler(tiny_f16, lanes=1) as sampler:
        one = Sampling(temperature=1.0, max_tokens=1, seed=1)
        prompt = PROMPTS[0]
        weights = sampler.weights
        context = Context(weights, cells=256, sequences=1, threads=1)
        row = context.prefill(weights.tokenize(prompt))
        logits = lib.llama_get_logits_ith(context.handle, row)
        odds = {letter: math.exp(logits[weights.tokenize(letter)[-1]]) for letter in "abc"}
        context.close()
        draws = 3000
        counts = dict.fromkeys("abc", 0)
        for start in range(0, draws, 500):
            sampling = Sampling(temperature=1.0, max_tokens=1, seed=one.seed + start)
            for sample in sampler.sample([prompt], 500, sampling, "root ::= [abc]")[0]:
                counts[sample.text] += 1
    for letter, odd in odds.items():
        share = odd / sum(odds.values())
        error = math.sqrt(share * (1 - share) / draws)
        assert abs(counts[letter] / draws - share) < 4 * error


def test_what_the_grammar_wrote_is_not_the_models_choice(sampler: BatchSampler) -> None:
    rule = 'root ::= "|" [a-c] "|"'
    [group] = sampler.sample(PROMPTS[:1], 8, SAMPLING, rule)
    for sample in group:
        pieces = [sampler.weights.piece(token).decode() for token in sample.tokens]
        assert next(pieces[i] for i, chosen in enumerate(sample.chosen) if chosen) in "abc"
        assert not sample.chosen[0]
    [free] = sampler.sample(PROMPTS[:1], 2, SAMPLING)
    assert all(all(sample.chosen) and len(sample.chosen) == len(sample.tokens) for sample in free)


def test_a_group_wider_than_a_context(sampler: BatchSampler) -> None:
    [group] = sampler.sample(PROMPTS[:1], 150, Sampling(max_tokens=2, seed=1))
    assert len(group) == 150


def test_cancel_from_another_thread(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "slow.gguf", dim=256, hidden=1024, layers=6, context=8192)
    cancel = CancelToken()
    with BatchSampler(path, lanes=2) as sampler:
        timer = threading.Timer(0.1, cancel.cancel)
        timer.start()
        with pytest.raises(CancelledError):
            sampler.sample(PROMPTS * 4, 8, Sampling(max_tokens=3000), cancel=cancel)
        groups = sampler.sample(PROMPTS, 2, Sampling(max_tokens=3))
        assert [len(group) for group in groups] == [2] * 5


def test_one_prompt_too_long_refuses_all(sampler: BatchSampler) -> None:
    with pytest.raises(ModelError, match="no room"):
        sampler.sample([PROMPTS[0], "a" * 600], 2, SAMPLING)
    with pytest.raises(ModelError, match="empty"):
        sampler.sample([[]], 2, SAMPLING)
    assert sampler.sample(PROMPTS[:1], 2, SAMPLING)


def test_growing_conversations_are_not_evaluated_again(
    tiny_f16: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turn by turn, in rotation: the cache changes what is evaluated and not what is drawn."""
    counts: list[int] = []
    prefill = Context.prefill

    def counting(self: Context, tokens: list[int], **options: int) -> int:
        counts.append(len(tokens))
        return prefill(self, tokens, **options)

    monkeypatch.setattr(Context, "prefill", counting)
    greedy = Sampling(temperature=0, max_tokens=8)
    drawn, evaluated = [], []
    for cache in (0, 1 << 24):
        counts.clear()
        histories = list(PROMPTS)
        with BatchSampler(tiny_f16, lanes=2, threads=2, cache=cache) as sampler:
            for turn in range(4):
                groups = sampler.sample(histories, 1, greedy)
                histories = [
                    f"{history}{group[0].text}\nTurn n{turn:03d}: the gain is too low by far\n"
                    for history, group in zip(histories, groups, strict=True)
                ]
        drawn.append(histories)
        evaluated.append(sum(counts))
    assert drawn[0] == drawn[1]
    assert evaluated[1] < 0.7 * evaluated[0]


def test_prefix_cache_keeps_the_longest_and_the_latest() -> None:
    def state(size: int) -> np.ndarray:
        return np.zeros(size, np.uint8)

    def tokens(*ids: int) -> np.ndarray:
        return np.array(ids, np.int32)

    cache = PrefixCache(100)
    assert cache.longest([1, 2]) == (0, None)
    cache.put(tokens(1, 2, 3), state(40))
    cache.put(tokens(7, 8), state(40))
    shared, entry = cache.longest([1, 2, 9])
    assert shared == 2
    assert entry is not None
    assert list(entry.tokens) == [1, 2, 3]
    cache.put(tokens(5, 5), state(40))  # 7, 8 was used longest ago
    assert cache.longest([7, 8])[0] == 0
    assert cache.longest([1, 2, 3])[0] == 3
    cache.put(tokens(1, 2, 3, 4), state(50))  # takes the place of 1, 2, 3
    assert cache.longest([5, 5])[0] == 2
    cache.put(tokens(6), state(101))  # larger than the cache
    assert cache.longest([6])[0] == 0


def test_close_stops_what_is_drawn(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "slow.gguf", dim=256, hidden=1024, layers=6, context=8192)
    sampler = BatchSampler(path, lanes=1)
    timer = threading.Timer(0.1, sampler.close)
    timer.start()
    with pytest.raises(CancelledError):
        sampler.sample(PROMPTS, 8, Sampling(max_tokens=7000))
    timer.join()
