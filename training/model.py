"""A small Llama from scratch whose value embeddings start out ordered."""

from __future__ import annotations

import math

import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from acs_assistant.prompting.numbers import all_values
from acs_assistant.training.config import ModelConfig
from acs_assistant.training.tokenizer import END_OF_TEXT, IM_END, token_id, token_kinds
from acs_assistant.units import parse_quantity

_VALUE_SCALE = 0.1
"""Of value rows; words start at 0.02. Input and output share the table, and only rows of this size
let the output tell near values apart: copying a value forms in minutes, at 0.02 not in an hour."""


def new_model(config: ModelConfig, tokenizer: Tokenizer, seed: int) -> LlamaForCausalLM:
    """Builds and initialises the network; embeddings are tied to the output layer."""
    torch.manual_seed(seed)
    size = math.ceil(tokenizer.get_vocab_size() / 32) * 32
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size,
            hidden_size=config.width,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.context,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            tie_word_embeddings=True,
            bos_token_id=token_id(tokenizer, END_OF_TEXT),
            eos_token_id=token_id(tokenizer, IM_END),
            pad_token_id=token_id(tokenizer, END_OF_TEXT),
        )
    )
    with torch.no_grad():
        table = model.model.embed_tokens.weight
        ids = torch.tensor(token_kinds(tokenizer).values)
        table[ids] = value_features(table.shape[1]) * _VALUE_SCALE
    return model


def value_features(width: int) -> torch.Tensor:
    """Fourier features of log10(value) per value token: near values start out alike.

    Wavelengths run geometrically from ten steps of the grid to far more decades than it has, so
    that both the digit inside a decade and the decade itself can be read. Shape (values, width),
    unit variance.
    """
    exponents = torch.tensor([math.log10(parse_quantity(text)) for text in all_values()])
    half = width // 2
    wavelengths = torch.logspace(math.log10(0.03), math.log10(60.0), half)
    phase = 2 * math.pi * exponents[:, None] / wavelengths[None, :]
    return torch.cat([phase.sin(), phase.cos()], dim=1) * math.sqrt(2.0)


class OrderedTable:
    """Trains the value rows of an embedding table as one linear map of their Fourier features.

    What is learned of one value is thereby learned of its neighbours, seen or not, and nine
    thousand rows need no more examples than a few hundred. The table stays an ordinary one: each
    step moves it by what the map moved.

    Attributes:
        words: (words, width) copies of the other rows, to be optimized in the table's stead.
        map: (width, width) the linear map, likewise.
    """

    def __init__(self, table: torch.nn.Parameter, tokenizer: Tokenizer) -> None:
        self._table = table
        self._values = torch.tensor(token_kinds(tokenizer).values, device=table.device)
        known = torch.ones(len(table), dtype=torch.bool, device=table.device)
        known[self._values] = False
        self._others = torch.nonzero(known).flatten()
        width = table.shape[1]
        self._features = (value_features(width) / math.sqrt(width)).to(table.device)
        with torch.no_grad():
            fitted = torch.linalg.lstsq(self._features, table[self._values]).solution
            self.words = torch.nn.Parameter(table[self._others].clone())
            self.map = torch.nn.Parameter(fitted.contiguous())
            self._written = self.map.detach().clone()

    @torch.no_grad()
    def take_gradient(self) -> None:
        """Moves the table's gradient to the map and the words."""
        gradient = self._table.grad
        assert gradient is not None
        self.words.grad = gradient[self._others]
        self.map.grad = self._features.T @ gradient[self._values]
        self._table.grad = None

    @torch.no_grad()
    def write(self) -> None:
        """Moves the table to where the map and the words are."""
        self._table[self._others] = self.words
        self._table[self._values] += self._features @ (self.map - self._written)
        self._written = self.map.detach().clone()


def value_neighbours(
    tokenizer: Tokenizer, reach: int, spread: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft targets for value tokens: ids and weights of the nearest values in log distance.

    Args:
        reach: Neighbours on each side.
        spread: Standard deviation of the weights, in decades.

    Returns:
        (vocabulary, 2·reach + 1) ids and weights; other tokens carry weight 1 on themselves.
    """
    ids = torch.tensor(token_kinds(tokenizer).values)
    exponents = torch.tensor([math.log10(parse_quantity(text)) for text in all_values()])
    size = math.ceil(tokenizer.get_vocab_size() / 32) * 32
    columns = torch.arange(size)[:, None].repeat(1, 2 * reach + 1)
    weights = torch.zeros(size, 2 * reach + 1)
    weights[:, reach] = 1.0
    around = torch.arange(len(ids))[:, None] + torch.arange(-reach, reach + 1)[None, :]
    inside = (around >= 0) & (around < len(ids))
    around = around.clamp(0, len(ids) - 1)
    distance = exponents[around] - exponents[:, None]
    bell = torch.exp(-0.5 * (distance / spread) ** 2) * inside
    columns[ids] = ids[around]
    weights[ids] = bell / bell.sum(dim=1, keepdim=True)
    return columns, weights
