"""Text to tokens, the same in torch and in llama.cpp."""

from __future__ import annotations

from pathlib import Path

import jinja2
import llama_cpp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from acs_assistant.domain import Task, Turn
from acs_assistant.llm.native import Weights
from acs_assistant.prompting.numbers import all_values
from acs_assistant.prompting.render import messages
from acs_assistant.training.chat import Encoder, chat_text
from acs_assistant.training.export_gguf import write_gguf
from acs_assistant.training.model import OrderedTable, value_features, value_neighbours
from acs_assistant.training.tokenizer import CHAT_TEMPLATE, IM_END, token_id, token_kinds


@pytest.fixture(scope="module")
def weights(
    model: LlamaForCausalLM, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Weights:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(model, tokenizer, path, "q8_0", "tiny")
    return Weights(path)


def test_the_template_writes_what_the_python_writes(task: Task, turn: Turn) -> None:
    chat = messages(task, [turn])
    template = jinja2.Environment().from_string(CHAT_TEMPLATE)
    for prompt in (False, True):
        rendered = template.render(messages=chat, add_generation_prompt=prompt)
        assert rendered == chat_text(chat, prompt)


def test_a_value_is_one_token(tokenizer: Tokenizer) -> None:
    for text in ("20.0u", "1.00p", "61.3", "9.95g"):
        assert text in tokenizer.encode(f"w_in {text},").tokens


def test_an_unknown_word_and_value_read_back(tokenizer: Tokenizer) -> None:
    text = "Größe of w_strange 12.3456u at 0.123"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_llama_cpp_tokenizes_a_conversation_alike(
    tokenizer: Tokenizer, weights: Weights, task: Task, turn: Turn, texts: list[str]
) -> None:
    for text in (chat_text(messages(task, [turn]), True), texts[0]):
        assert weights.tokenize(text) == tokenizer.encode(text, add_special_tokens=False).ids


@given(
    st.lists(
        st.sampled_from(["w_in ", "gbw ", " to ", " and ", "12.0meg", "300u", ", ", "\n", "wide"])
    )
)
def test_llama_cpp_tokenizes_any_mixture_alike(
    tokenizer: Tokenizer, weights: Weights, parts: list[str]
) -> None:
    text = "x" + "".join(parts)
    assert weights.tokenize(text) == tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(("quantization", "tolerance"), [("f16", 0.02), ("q8_0", 0.15)])
def test_llama_cpp_gives_the_same_logits(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    texts: list[str],
    tmp_path: Path,
    quantization: str,
    tolerance: float,
) -> None:
    from acs_assistant.llm.decoding import Context

    path = tmp_path / "tiny.gguf"
    write_gguf(model, tokenizer, path, quantization, "tiny")  # type: ignore[arg-type]
    ids = tokenizer.encode(texts[0], add_special_tokens=False).ids
    context = Context(Weights(path), cells=512, sequences=1, threads=1)
    row = context.prefill(ids, start=0)
    address = llama_cpp.llama_get_logits_ith(context.handle, row)
    theirs = np.ctypeslib.as_array(address, (tokenizer.get_vocab_size(),)).copy()
    with torch.no_grad():
        ours = model(torch.tensor([ids])).logits[0, -1, : tokenizer.get_vocab_size()].numpy()
    context.close()
    assert np.abs(ours - theirs).max() < tolerance
    assert np.corrcoef(ours, theirs)[0, 1] > 0.999


def test_only_the_assistant_is_learned(tokenizer: Tokenizer, task: Task, turn: Turn) -> None:
    chat = messages(task, [turn])
    example = Encoder(tokenizer).encode({"messages": chat})
    learned = tokenizer.decode(example.tokens[example.learn].tolist(), skip_special_tokens=False)
    assert learned.startswith("<think>\nExpect gbw 12.0meg.\n</think>\n<tool_call>")
    assert learned.endswith("</tool_call><|im_end|>")
    assert not len(Encoder(tokenizer).encode({"messages": chat, "train": []}).tokens)
    start = list(example.prefix) + example.tokens.tolist()
    whole = tokenizer.encode(chat_text(chat, False), add_special_tokens=False).ids
    assert start == whole[: len(start)]


def test_what_follows_from_sizes_is_learned_of_turns_that_are_not_imitated(
    tokenizer: Tokenizer, task: Task, turn: Turn
) -> None:
    chat = messages(task, [turn])
    chat[2]["reasoning_content"] = "Take w_in 20.0u. Expect gbw 12.0meg."
    example = Encoder(tokenizer).encode({"messages": chat, "train": []}, results=True)
    learned = tokenizer.decode(example.tokens[example.learn].tolist(), skip_special_tokens=False)
    assert learned.startswith("gbw 12.0meg.\n</think>\n<tool_call>")
    assert learned.endswith("</tool_call><|im_end|>")


def test_an_unfinished_thought_is_learned_up_to_where_it_stops(
    tokenizer: Tokenizer, task: Task, turn: Turn
) -> None:
    chat = [*messages(task), {"role": "assistant", "reasoning_content": "Take w_in 20.0u."}]
    example = Encoder(tokenizer).encode({"messages": chat, "unfinished": True})
    learned = tokenizer.decode(example.tokens[example.learn].tolist(), skip_special_tokens=False)
    assert learned == "<think>\nTake w_in 20.0u."


def test_a_step_on_one_value_moves_its_neighbours_alike(
    model: LlamaForCausalLM, tokenizer: Tokenizer
) -> None:
    table = torch.nn.Parameter(model.model.embed_tokens.weight.detach().clone())
    before = table.detach().clone()
    ordered = OrderedTable(table, tokenizer)
    seen = token_id(tokenizer, "20.0u")
    table.grad = torch.zeros_like(table)
    table.grad[seen] = 1.0
    ordered.take_gradient()
    optimizer = torch.optim.SGD([ordered.words, ordered.map], lr=0.1)
    optimizer.step()
    ordered.write()
    moved = (before - table).detach().norm(dim=1)
    near, far = token_id(tokenizer, "20.2u"), token_id(tokenizer, "55.0meg")
    assert moved[near] > 0.9 * moved[seen] > 3 * moved[far]
    assert moved[token_id(tokenizer, IM_END)] == 0


def test_near_values_start_out_alike() -> None:
    features = value_features(128)
    names = list(all_values())
    here = features[names.index("20.0u")]
    likeness = [
        float(torch.cosine_similarity(here, features[names.index(other)], dim=0))
        for other in ("20.2u", "21.0u", "30.0u", "200u")
    ]
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] > 0.9 > likeness[2]


def test_soft_targets_are_distributions_around_the_value(tokenizer: Tokenizer) -> None:
    columns, weights = value_neighbours(tokenizer, reach=4, spread=0.01)
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(weights)))
    value = token_id(tokenizer, "20.0u")
    assert columns[value][weights[value].argmax()] == value
    assert set(columns[value].tolist()) <= set(token_kinds(tokenizer).values)
    word = token_id(tokenizer, "gbw")
    assert columns[word][weights[word].argmax()] == word
    assert weights[word].max() == 1
