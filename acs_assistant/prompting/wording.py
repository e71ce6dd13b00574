"""The words of the small model's reasoning, and the grammar that holds its facts to the record.

The model is taught to think in these sentences (training/reasoning.py). Drawn freely, it would also
have to remember what was measured and what each size was; the grammar fills those in, lists every
size and every spec, and leaves to the model what is to be decided: what is hard, what it follows,
which sizes to take or to change, and what to expect of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from acs_assistant.domain import Circuit, Sizing, Spec, Turn
from acs_assistant.prompting.grammar import literal
from acs_assistant.prompting.numbers import format_value
from acs_assistant.prompting.ranges import between
from acs_assistant.prompting.render import size_text, target_text

FIRST_WORDS = "Nothing is measured yet. "
DECIDED = " Expect"
"""Where a thought has decided its sizes."""
_UNCHANGED = 0.04
"""A relative change that nobody would design for, so none that a thought claims."""
_MOST_CHANGES = 6
_LONGEST_DEMAND = 160
_STEP = 0.003
_SMALLEST, _LARGEST = 1e-14, 9.9e9
_ANY = 'number ::= "-"? [0-9]{1,3} ("." [0-9]{1,2})? ([fpnumkg] | "meg")?'


def joined(parts: Sequence[str], last: str = " and ", comma: str = ", ") -> str:
    """An enumeration in English."""
    if len(parts) < 2:
        return "".join(parts)
    return comma.join(parts[:-1]) + last + parts[-1]


def complaint(spec: Spec, value: float | None) -> str:
    """What is wrong with a spec that is not met."""
    if value is None:
        return f"{spec.metric} could not be measured"
    word = "short of" if value < spec.target else "over"
    return f"{spec.metric} {format_value(value)} is {word} {target_text(spec)}"


def demand(turn: Turn) -> str:
    """The reason of a rejection as a clause; "" when there is none."""
    if turn.decision is None or turn.decision.kind != "rejected":
        return ""
    return re.sub(r"[\s<>]+", " ", turn.decision.reason).strip(" .")[:_LONGEST_DEMAND]


def change_words(circuit: Circuit, before: Sizing, after: Sizing) -> list[str]:
    """A clause for every size that changes, in the circuit's order."""
    clauses = []
    for p in circuit.parameters:
        old, new = size_text(p, before[p.name]), size_text(p, after[p.name])
        if old != new:
            verb = "raise" if after[p.name] > before[p.name] else "lower"
            clauses.append(f"{verb} {p.name} from {old} to {new}")
    return clauses


def effect_words(spec: Spec, old: float | None, new: float) -> str:
    """What is expected of a metric that was ``old``; None when it was not measured."""
    if old is None:
        return f"{spec.metric} {format_value(new)}"
    if abs(new - old) < _UNCHANGED * abs(old):
        return f"{spec.metric} to stay near {format_value(old)}"
    return f"{spec.metric} to {'rise' if new > old else 'fall'} to {format_value(new)}"


def first_grammar(circuit: Circuit, specs: Sequence[Spec], sizing: Sizing | None = None) -> str:
    """GBNF of a thought before anything is measured.

    Args:
        sizing: What it is to take, when that is settled.
    """
    sizes = [f'"{p.name} " v{i}' for i, p in enumerate(circuit.parameters)]
    effects = [f'"{s.metric} " number' for s in specs]
    root = (
        rf'root ::= "<think>\n{FIRST_WORDS}" hard " will be hardest to meet; they "'
        rf' "follow " names " most. Take " {_list(sizes)}'
        rf' ". Expect " {_list(effects)} ".\n</think>\n"'
    )
    hard = f"hard ::= {_some('metric', 2)}"
    values = [
        f"v{i} ::= {literal(size_text(p, sizing[p.name])) if sizing else between(p.min, p.max)}"
        for i, p in enumerate(circuit.parameters)
    ]
    return _rules(root, hard, *_names(circuit, specs), *values, _ANY)


def next_grammar(
    circuit: Circuit,
    specs: Sequence[Spec],
    short: Sequence[Spec],
    before: Sizing,
    measured: Mapping[str, float],
    asked: str = "",
    sizing: Sizing | None = None,
) -> str:
    """GBNF of a thought about what was measured, or about a rejection.

    Args:
        short: The specs that are not met.
        before: The sizing that was measured, or else rejected.
        measured: What it gave; empty when nothing was simulated.
        asked: What the engineer's rejection demands (``demand``).
        sizing: What the changes are to lead to, when that is settled.
    """
    opening = [literal(f"<think>\n{f'The engineer wants {asked}. ' if asked else ''}")]
    if short:
        complaints = joined([complaint(s, measured.get(s.metric)) for s in short])
        subject = joined([s.metric for s in short])
        verb = "follows" if len(short) == 1 else "follow"
        opening += [f'"At best {complaints}. {subject} {verb} " names " most. "']
    elif measured:
        opening += ['"Every spec is met. "']
    if sizing is None:
        rules = _change_rules(circuit, before)
    else:
        rules = [f"changes ::= {literal(joined(change_words(circuit, before, sizing)))}"]
    effects = []
    for i, spec in enumerate(specs):
        effect, more = _effect(i, spec.metric, measured.get(spec.metric))
        effects.append(effect)
        rules += more
    root = (
        rf'root ::= {" ".join(opening)} "So " changes'
        rf' ". Expect " {_list(effects)} ".\n</think>\n"'
    )
    return _rules(root, *_names(circuit, specs), *rules, _ANY)


def _change_rules(circuit: Circuit, before: Sizing) -> list[str]:
    """GBNF of the changes that may be made to a sizing."""
    rules, changes = [f"changes ::= {_some('change', _MOST_CHANGES)}"], []
    for i, p in enumerate(circuit.parameters):
        old = size_text(p, before[p.name])
        for move, low, high in (
            ("raise", before[p.name] * (1 + _STEP), p.max),
            ("lower", p.min, before[p.name] * (1 - _STEP)),
        ):
            if (values := between(low, high)) if low < high else "":
                rules.append(f"{move}{i} ::= {values}")
                changes.append(f'"{move} {p.name} from {old} to " {move}{i}')
    return [*rules, f"change ::= {' | '.join(changes)}"]


def _effect(index: int, metric: str, old: float | None) -> tuple[str, list[str]]:
    """The GBNF of one expectation, and the rules that it needs."""
    if old is None:
        return f'"{metric} " number', []
    stay = f'"{metric} to stay near {format_value(old)}"'
    if not _SMALLEST < old < _LARGEST:
        return f'({stay} | "{metric} to " ("rise" | "fall") " to " number)', []
    up = between(old * (1 + _STEP), _LARGEST)
    down = between(_SMALLEST, old * (1 - _STEP))
    moves = f'"{metric} to " ("rise to " up{index} | "fall to " down{index})'
    return f"({stay} | {moves})", [f"up{index} ::= {up}", f"down{index} ::= {down}"]


def _names(circuit: Circuit, specs: Sequence[Spec]) -> list[str]:
    parameters = " | ".join(f'"{p.name}"' for p in circuit.parameters)
    metrics = " | ".join(f'"{s.metric}"' for s in specs)
    return [f"names ::= {_some('name', 3)}", f"name ::= {parameters}", f"metric ::= {metrics}"]


def _list(items: Sequence[str]) -> str:
    return joined(items, last=' " and " ', comma=' ", " ')


def _some(item: str, most: int) -> str:
    """One to ``most`` of a rule, enumerated."""
    if most < 3:
        return f'{item} (" and " {item})?'
    return f'{item} ((", " {item}){{0,{most - 2}}} " and " {item})?'


def _rules(*rules: str) -> str:
    return "\n".join(rules) + "\n"
