"""What draws the responses of a step from the weights as they are then.

llama.cpp draws from a GGUF that is written anew each step, torch from the weights in memory, and a
server (vLLM) from a base model on which it loads the adapters of the step.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from acs_assistant.errors import ConfigError, ModelError
from acs_assistant.llm.chat_template import ChatTemplate
from acs_assistant.llm.port import Rules, Sample, Sampling
from acs_assistant.llm.server import Drawn, ServerModel
from acs_assistant.prompting.render import messages, tools
from acs_assistant.training import distributed
from acs_assistant.training.base import Trainee, has_adapters
from acs_assistant.training.config import RlConfig
from acs_assistant.training.language import Language
from acs_assistant.training.rollout import GroupSampler, Render, own_prompt
from acs_assistant.training.tokenizer import CHAT_TEMPLATE

if TYPE_CHECKING:
    from acs_assistant.llm.batch import BatchSampler

_SHORTEST_ANSWER = 32
_REQUESTS = 32
_DEFAULT_CONTEXT = 8192


@contextlib.contextmanager
def policy(trainee: Trainee, config: RlConfig, step: int) -> Iterator[GroupSampler]:
    """A sampler of the weights as they are now.

    Raises:
        ConfigError: The recipe's rollouts do not fit the model.
        ModelError: The server does not answer, or refuses the adapters.
    """
    if config.rollouts == "torch":
        yield TorchSampler(trainee)
    elif config.rollouts == "server":
        with _served(trainee, config, step) as sampler:
            yield sampler
    else:
        from acs_assistant.llm.batch import BatchSampler
        from acs_assistant.training.export_gguf import write_gguf

        with tempfile.TemporaryDirectory(prefix="acs-policy-") as folder:
            path = Path(folder) / "policy.gguf"
            write_gguf(trainee.model, trainee.language, path, "f16", "policy")
            with BatchSampler(path, threads=config.threads) as sampler:
                yield sampler


def prompt_of(sampler: BatchSampler) -> Render:
    """How a GGUF is asked: as the small model is, or by the chat template that it carries."""
    weights = sampler.weights
    if weights.chat_template == CHAT_TEMPLATE:
        return own_prompt
    template = ChatTemplate(
        weights.chat_template,
        bos_text=weights.bos_text,
        eos_text=weights.eos_text,
        control_texts=weights.control_texts,
        name=weights.path.name,
    )
    return lambda task, turns: template.render(messages(task, turns), tools(task.circuit))


def check(trainee: Trainee, config: RlConfig) -> None:
    """Refuses, before anything is drawn, rollouts that cannot be had.

    Raises:
        ConfigError: See there.
    """
    if config.fsdp.enabled and config.rollouts != "server":
        raise ConfigError(
            f"'rollouts' is \"{config.rollouts}\", and no process has the weights whole.",
            hint="With fsdp write rollouts = \"server\", and its address as 'server'.",
        )
    if config.rollouts == "server":
        if not config.server or not config.adapters:
            raise ConfigError(
                "'server' and 'adapters' are needed for rollouts from a server.",
                hint='server = "http://HOST:PORT/v1#MODEL", adapters = "FOLDER" that it can read.',
            )
        if not has_adapters(trainee.model):
            raise ConfigError(
                "'rollouts': a server takes the weights of a step as adapters alone.",
                hint="Train adapters: write a table [lora] with rank = 16.",
            )
    elif config.rollouts == "llama.cpp" and not trainee.own:
        from acs_assistant.training.export_gguf import check_known

        check_known(trainee.model, trainee.language)


class _OwnTokens:
    """A sampler whose prompts are tokenized here, by the language of the model being trained."""

    wording = ""

    def __init__(self, language: Language, context: int) -> None:
        self._language = language
        self.context = context

    def tokens(self, prompt: str | Sequence[int]) -> list[int]:
        return list(self._language.tokens(prompt) if isinstance(prompt, str) else prompt)

    def limit(self, prompt: Sequence[int], sampling: Sampling) -> int:
        return _room(self.context, prompt, sampling)


class TorchSampler(_OwnTokens):
    """Draws with the model itself: any architecture, slowly; grammars are not applied."""

    def __init__(self, trainee: Trainee) -> None:
        self._model = trainee.model
        trained = getattr(trainee.model.config, "max_position_embeddings", _DEFAULT_CONTEXT)
        super().__init__(trainee.language, min(int(trained), _DEFAULT_CONTEXT))

    def sample(
        self,
        prompts: Sequence[str | Sequence[int]],
        count: int,
        sampling: Sampling,
        grammars: str | Rules | Sequence[str | Rules | None] | None = None,
    ) -> list[list[Sample]]:
        """See ``GroupSampler``; an answer that the parser cannot read is an invalid call."""
        torch.manual_seed(sampling.seed)
        return [self._group(self.tokens(prompt), count, sampling) for prompt in prompts]

    def _group(self, prompt: list[int], count: int, sampling: Sampling) -> list[Sample]:
        ends = sorted(self._language.ends)
        choice = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        drawn = sampling.temperature > 0
        generate: Any = self._model.generate
        with torch.no_grad():
            rows = generate(
                input_ids=torch.tensor([prompt], device=self._model.device).repeat(count, 1),
                attention_mask=torch.ones(count, len(prompt), device=self._model.device),
                do_sample=drawn,
                max_new_tokens=self.limit(prompt, sampling),
                eos_token_id=ends,
                pad_token_id=ends[0],
                **(choice if drawn else {}),
            )
        return [self._sample(row[len(prompt) :].tolist()) for row in rows]

    def _sample(self, tokens: list[int]) -> Sample:
        end = next((i for i, token in enumerate(tokens) if token in self._language.ends), None)
        kept = tuple(tokens if end is None else tokens[: end + 1])
        finish = "length" if end is None else "stop"
        return Sample(kept, self._language.text(kept), finish)


@contextlib.contextmanager
def _served(trainee: Trainee, config: RlConfig, step: int) -> Iterator[GroupSampler]:
    """Hands the adapters of this step to the server and takes those of the last one away."""
    server = ServerModel(config.server)
    name = f"acs-{config.seed}-{step}"
    folder = Path(config.adapters) / name
    weights = distributed.whole_weights(trainee.model)
    if distributed.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        trainee.model.save_pretrained(folder, state_dict=weights)
        server.load_adapter(name, folder)
    distributed.wait()
    try:
        yield ServerSampler(server, trainee, name)
    finally:
        distributed.wait()
        if distributed.rank() == 0:
            server.unload_adapter(name)
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()


class ServerSampler(_OwnTokens):
    """Groups from an OpenAI-compatible server: one request with n = G for each history.

    Prompts go out as token ids. Where the server reports ids and log-probabilities of what it
    drew (vLLM), they are learned from as they are; elsewhere the text is tokenized here.

    Args:
        name: The model as the server knows it; its own by default.
    """

    def __init__(self, server: ServerModel, trainee: Trainee, name: str = "") -> None:
        super().__init__(trainee.language, server.info.context or _DEFAULT_CONTEXT)
        self._server = server
        self._name = name or server.info.name

    def sample(
        self,
        prompts: Sequence[str | Sequence[int]],
        count: int,
        sampling: Sampling,
        grammars: str | Rules | Sequence[str | Rules | None] | None = None,
    ) -> list[list[Sample]]:
        """See ``GroupSampler``; an answer that the parser cannot read is an invalid call."""
        with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="rollout") as executor:
            jobs = [
                executor.submit(self._server.draw, self.tokens(prompt), count, seeded, self._name)
                for number, prompt in enumerate(prompts)
                for seeded in [_seeded(sampling, number, self.limit(self.tokens(prompt), sampling))]
            ]
        # A server reports them before the temperature is applied.
        usable = sampling.temperature == 1
        return [[self._sample(drawn, usable) for drawn in job.result()] for job in jobs]

    def _sample(self, drawn: Drawn, usable: bool) -> Sample:
        if drawn.tokens:
            tokens = tuple(drawn.tokens)
            text = self._language.text(tokens)
        else:
            end = self._language.end_text if drawn.finish == "stop" else ""
            text, tokens = drawn.text, self._language.tokens(drawn.text + end)
        whole = usable and len(drawn.log_probabilities) == len(tokens)
        known = tuple(drawn.log_probabilities) if whole else ()
        return Sample(tokens, text, drawn.finish, known)


def _seeded(sampling: Sampling, number: int, limit: int) -> Sampling:
    return Sampling(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=limit,
        seed=(sampling.seed * 1_000_003 + number) & 0x7FFFFFFF,
    )


def _room(context: int, prompt: Sequence[int], sampling: Sampling) -> int:
    left = context - len(prompt)
    if not prompt or left < min(_SHORTEST_ANSWER, sampling.max_tokens):
        raise ModelError(
            f"the conversation has {len(prompt)} tokens and the model's context is {context}: "
            "no room is left for an answer.",
            hint="Lower 'turns' in the recipe, or use a model that reads more.",
        )
    return min(left, sampling.max_tokens)
