"""Saved sessions to a new model: what is a lesson, and the whole way on a tiny budget."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from acs_assistant import llm
from acs_assistant.domain import Decision, Evaluation, Proposal, Turn
from acs_assistant.errors import InputError, ModelError
from acs_assistant.prompting.parse import named_sizes, predicted_metrics
from acs_assistant.prompting.render import messages
from acs_assistant.scoring import score
from acs_assistant.storage.records import Provenance
from acs_assistant.storage.store import Store
from acs_assistant.training import tuning
from acs_assistant.training.chat import chat_text
from acs_assistant.training.config import FromSessionsConfig
from acs_assistant.training.export_gguf import write_gguf
from acs_assistant.training.from_sessions import chosen_sessions, train_from_sessions
from acs_assistant.training.import_gguf import import_gguf
from acs_assistant.training.lessons import SessionTasks, grounds_of, lessons_of
from acs_assistant.training.tuning import Standing
from tests.llm.tiny_gguf import write_tiny_gguf
from tests.training.toy import CIRCUIT, TASK, Formula, measured

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "sessions.db")
    yield opened
    opened.close()


def new_session(store: Store) -> int:
    return store.create_session(TASK, title="toy", proposer="model", budget=9, seed=1).id


def add(store: Store, session: int, width: float, decision: Decision) -> Turn:
    head = store.session(session).head
    proposal = Proposal({"w_in": width}, "model", reasoning="As I like it.")
    turn = store.add_turn(session, head, proposal, Provenance())
    turn = store.decide(session, turn, decision)
    if decision.sizing:
        measurement = measured(decision.sizing)
        evaluation = Evaluation((measurement,), score(TASK.specs, [measurement]))
        turn = store.add_evaluation(session, turn, evaluation)
    return turn


def by_engineer(store: Store) -> int:
    """Rejected, accepted, edited."""
    key = new_session(store)
    add(store, key, 40e-6, Decision("rejected", {}, "w_in at most 30u.", "engineer"))
    add(store, key, 25e-6, Decision("accepted", {"w_in": 25e-6}, "", "engineer"))
    add(store, key, 30e-6, Decision("edited", {"w_in": 20e-6}, "", "engineer"))
    return key


def lessons(store: Store) -> Any:
    return lessons_of(chosen_sessions(store, []), Formula())


def test_accepted_and_edited_sizings_are_right(store: Store) -> None:
    by_engineer(store)
    found = lessons(store)
    assert [right.sizing["w_in"] for right in found.rights] == [25e-6, 20e-6]
    assert len(found.records) == 2
    for record, width in zip(found.records, ("25.0u", "20.0u"), strict=True):
        (learned,) = record["train"]
        call = record["messages"][learned]["tool_calls"][0]["function"]["arguments"]
        assert json.loads(call) == {"w_in": width}
        assert record["messages"][learned + 1]["role"] == "tool"
        assert "engineer changed" not in record["messages"][learned + 1]["content"]
    assert "rejected" in found.records[0]["messages"][3]["content"]


def test_the_reasoning_is_written_anew_from_what_was_measured(store: Store) -> None:
    by_engineer(store)
    for right, record in zip(*(lambda f: (f.rights, f.records))(lessons(store)), strict=True):
        thought = record["messages"][record["train"][0]]["reasoning_content"]
        assert "As I like it" not in thought
        truth = measured(right.sizing).metrics["match"]
        assert predicted_metrics(thought, CIRCUIT)["match"] == pytest.approx(truth, rel=0.006)
        for name, value in named_sizes(thought, right.sizing).items():
            assert value == pytest.approx(right.sizing[name], rel=0.006)
    assert (
        "The engineer wants w_in at most 30u."
        in lessons(store).records[0]["messages"][4]["reasoning_content"]
    )


def test_a_rejected_sizing_is_held_against_what_was_taken_instead(store: Store) -> None:
    by_engineer(store)
    (preference,) = lessons(store).preferences
    assert '"w_in": "25.0u"' in preference.better and '"w_in": "40.0u"' in preference.worse
    assert preference.prompt == chat_text(messages(TASK), add_generation_prompt=True)


def test_automatic_turns_teach_only_where_they_were_the_best_so_far(store: Store) -> None:
    key = new_session(store)
    for width in (12e-6, 14e-6, 39e-6, 20e-6):
        add(store, key, width, Decision("accepted", {"w_in": width}))
    widths = [right.sizing["w_in"] for right in lessons(store).rights]
    assert widths == [12e-6, 14e-6, 20e-6]


def test_training_and_held_out_draws_share_no_specs(store: Store) -> None:
    by_engineer(store)
    grounds = grounds_of(lessons(store).rights, Formula(), perturbations=40, seed=1)
    source = SessionTasks(grounds)
    held = source.held_out(20, seed=1)
    assert [t.specs for t in held] == [t.specs for t in source.held_out(20, seed=1)]
    rows = {part: set(grounds[0].usable(TASK.specs, part).tolist()) for part in (False, True)}
    assert rows[True] and rows[False] and not rows[True] & rows[False]


def test_no_sessions_and_empty_sessions_are_refused(
    store: Store, tmp_path: Path, card: llm.ModelCard
) -> None:
    with pytest.raises(InputError, match="no saved sessions"):
        chosen_sessions(store, [])
    with pytest.raises(InputError, match="no session 7"):
        chosen_sessions(store, [7])
    key = new_session(store)
    add(store, key, 40e-6, Decision("rejected", {}, "", "engineer"))
    with pytest.raises(InputError, match="accepted or edited"):
        train_from_sessions(
            chosen_sessions(store, [key]), card, FromSessionsConfig(), Formula(), tmp_path / "out"
        )


# From GGUF back to a checkpoint


def test_a_gguf_becomes_the_same_model_again(
    toy_speaker: tuple[LlamaForCausalLM, Tokenizer], tmp_path: Path
) -> None:
    model, tokenizer = toy_speaker
    path = tmp_path / "toy.gguf"
    write_gguf(model, tokenizer, path, "f16", "toy")
    again, spelled = import_gguf(path)
    text = chat_text(messages(TASK), add_generation_prompt=True) + "Größe 12.3456u, 20.0u"
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert spelled.encode(text, add_special_tokens=False).ids == ids
    assert spelled.get_vocab() == tokenizer.get_vocab()
    with torch.no_grad():
        ours, theirs = (m.eval()(torch.tensor([ids])).logits for m in (model, again))
    assert torch.allclose(ours, theirs, atol=0.02)


def test_a_foreign_gguf_cannot_be_trained_further(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "foreign.gguf")
    with pytest.raises(ModelError) as caught:
        import_gguf(path)
    assert "acs-assistant train" in caught.value.hint


# The whole way

TINY = FromSessionsConfig(
    perturbations=8, sft_seconds=0.5, rl_seconds=600, rl_steps=2, tasks=1, group=2, turns=2,
    max_tokens=64, held_out=2, budget=2, threads=1, precision="f32",
)  # fmt: skip


@pytest.fixture
def card(
    toy_speaker: tuple[LlamaForCausalLM, Tokenizer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> llm.ModelCard:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "toy.gguf"
    write_gguf(*toy_speaker, path, "q8_0", "toy")
    return llm.adopt(str(path))


def test_from_sessions_to_an_evaluated_model(
    store: Store, card: llm.ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = chosen_sessions(store, [by_engineer(store)])
    out = tmp_path / "run"

    def die(*_: object) -> Standing:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "_standing", die)
    with pytest.raises(KeyboardInterrupt):
        train_from_sessions(chosen, card, TINY, Formula(), out)
    trained = (out / "rl" / "metrics.jsonl").read_text()
    assert len(trained.splitlines()) == 2
    monkeypatch.undo()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    outcome = train_from_sessions(chosen, card, TINY, Formula(), out)
    assert (out / "rl" / "metrics.jsonl").read_text() == trained  # not trained twice
    assert (outcome.right, outcome.rejected, outcome.draws) == (2, 1, 2)
    assert set(outcome.before.met_at) == set(outcome.after.met_at) == {1, 2}
    facts = json.loads(outcome.model.with_suffix(".json").read_text())
    assert facts["start"]["sha256"] == card.sha256
    default = llm.default_model().name
    assert default == (outcome.adopted if outcome.not_worse else card.name)
    with pytest.raises(InputError, match="other settings"):
        other = TINY.model_copy(update={"seed": 2})
        train_from_sessions(chosen, card, other, Formula(), out)


@pytest.mark.parametrize(
    ("after", "early", "taken"),
    [(0.9, 0.9, False), (1.0, 0.5, True), (1.0, 0.4, False), (1.1, 0.4, True)],
)
def test_only_a_model_that_is_not_worse_is_adopted(
    store: Store,
    card: llm.ModelCard,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: float,
    early: float,
    taken: bool,
) -> None:
    def standing(model: Path, *_: object) -> Standing:
        old, new = Standing({1: 0.5}, 1.0), Standing({1: early}, after)
        return old if model == card.path else new

    monkeypatch.setattr(tuning, "_standing", standing)
    budget = TINY.model_copy(update={"sft_seconds": 0.0, "rl_steps": 0, "rl_seconds": 0.0})
    chosen = chosen_sessions(store, [by_engineer(store)])
    outcome = train_from_sessions(chosen, card, budget, Formula(), tmp_path / "run")
    assert bool(outcome.adopted) is taken
    assert llm.default_model().name == (outcome.adopted or card.name)
    if taken:
        assert llm.rollback().name == card.name
    kept = train_from_sessions(chosen, card, budget, Formula(), tmp_path / "run", may_adopt=False)
    assert replace(kept, adopted="") == replace(outcome, adopted="")
    assert llm.default_model().name == card.name
