"""Which models there are, their cards, the default, adopting and going back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from acs_assistant import paths
from acs_assistant.errors import ModelError, StorageError
from acs_assistant.llm import (
    adopt,
    default_model,
    list_models,
    open_model,
    rollback,
    show_model,
)
from acs_assistant.llm.models import sha256


def place(source: Path, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(source, folder / f"{name}.gguf"))


@pytest.fixture
def bundled(home: Path, tiny_q8: Path) -> Path:
    return place(tiny_q8, home / "bundled", "shipped")


def test_a_card_says_what_the_file_says(bundled: Path) -> None:
    bundled.with_suffix(".md").write_text("# Shipped\n")
    bundled.with_suffix(".json").write_text('{"first_met": 0.7}')
    [card] = list_models()
    assert (card.name, card.origin, card.default) == ("shipped", "bundled", True)
    assert card.sha256 == hashlib.sha256(bundled.read_bytes()).hexdigest()
    assert (card.architecture, card.quantization, card.context) == ("llama", "Q8_0", 512)
    assert (card.licence, card.description) == ("Apache-2.0", "Random weights.")
    assert card.card == "# Shipped\n"
    assert card.facts == {"first_met": 0.7}
    assert json.loads(json.dumps(card.as_json()))["parameters"] == card.parameters
    assert card.info.sha256 == card.sha256


def test_no_model_at_all(home: Path) -> None:
    assert list_models() == []
    with pytest.raises(ModelError, match="no model is installed") as caught:
        open_model()
    assert "--model" in caught.value.hint


def test_a_users_model_hides_a_bundled_one_of_its_name(bundled: Path, tiny_f16: Path) -> None:
    mine = place(tiny_f16, paths.user_models(), "shipped")
    assert [(card.name, card.origin) for card in list_models()] == [("shipped", "user")]
    assert show_model("shipped").path == mine
    assert show_model(str(bundled)).path == bundled


def test_a_damaged_file_is_listed_with_its_fault(bundled: Path, tiny_f16: Path) -> None:
    broken = paths.user_models() / "broken.gguf"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(tiny_f16.read_bytes()[:5000])
    cards = {card.name: card for card in list_models()}
    assert "truncated" in cards["broken"].error
    assert cards["shipped"].error == ""
    with pytest.raises(ModelError, match="truncated"):
        open_model("broken")
    with pytest.raises(ModelError, match="truncated"):
        adopt("broken")
    assert default_model().name == "shipped"


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        ("shiped", "no model 'shiped'", "'shipped'"),
        ("nowhere.gguf", "no such file", "path"),
        ("folder/nowhere", "no such file", "path"),
        ("/", "is a folder", "GGUF"),
    ],
)
def test_unknown_references(bundled: Path, reference: str, message: str, hint: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        open_model(reference)
    assert hint in caught.value.hint


@pytest.mark.parametrize("reference", ["", "shipped", "file"])
def test_open_by_default_name_and_file(bundled: Path, reference: str) -> None:
    model = open_model(str(bundled) if reference == "file" else reference)
    assert model.info.name == "shipped"
    assert model.info.sha256 == sha256(bundled)
    model.close()


def test_adopt_and_roll_back(bundled: Path, tiny_f16: Path) -> None:
    tiny_f16.with_suffix(".md").write_text("# Tuned\n")
    card = adopt(str(tiny_f16), name="tuned")
    assert (card.name, card.origin, card.default, card.card) == ("tuned", "user", True, "# Tuned\n")
    assert card.path.parent == paths.user_models()
    assert default_model().name == "tuned"
    assert [c.name for c in list_models() if c.default] == ["tuned"]
    assert rollback().name == "shipped"
    assert default_model().name == "shipped"
    with pytest.raises(ModelError, match="no earlier model"):
        rollback()
    tiny_f16.with_suffix(".md").unlink()


def test_adopting_twice_is_adopting_once(bundled: Path, tiny_f16: Path) -> None:
    adopt(str(tiny_f16))
    adopt(tiny_f16.stem)
    assert rollback().name == "shipped"


def test_a_name_that_is_taken(bundled: Path, tiny_f16: Path, tiny_q8: Path) -> None:
    adopt(str(tiny_f16), name="tuned")
    with pytest.raises(ModelError, match="another file of the name 'tuned'"):
        adopt(str(tiny_q8), name="tuned")
    assert default_model().sha256 == sha256(tiny_f16)


def test_an_adopted_file_that_is_gone_falls_back(bundled: Path, tiny_f16: Path) -> None:
    adopt(str(tiny_f16), name="tuned").path.unlink()
    assert default_model().name == "shipped"


def test_a_damaged_state_file_counts_as_nothing_adopted(bundled: Path, tiny_f16: Path) -> None:
    adopt(str(tiny_f16), name="tuned")
    state = paths.user_models() / ".adopted.json"
    for text in ("", "[1]", '{"current": 5, "previous": 7}', "{"):
        state.write_text(text)
        assert default_model().name == "shipped"


def test_hash_is_taken_again_when_the_file_changes(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert sha256(path) == hashlib.sha256(b"one").hexdigest()
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert sha256(path) == hashlib.sha256(b"two").hexdigest()


def test_hash_works_when_the_cache_cannot_be_written(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise StorageError("read-only")

    monkeypatch.setattr("acs_assistant.llm.models.write_text", refuse)
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert sha256(path) == hashlib.sha256(b"one").hexdigest()


def test_listing_models_does_not_load_llama_cpp() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from acs_assistant.llm import list_models; list_models(); "
        "assert not {'llama_cpp', 'jinja2', 'http.client', 'numpy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
