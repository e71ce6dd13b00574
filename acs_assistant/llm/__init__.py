"""Language models: llama.cpp in this process, OpenAI-compatible servers, scripts for tests."""

from acs_assistant.llm.models import (
    ModelCard,
    adopt,
    default_model,
    list_models,
    open_model,
    rollback,
    show_model,
)

__all__ = [
    "ModelCard",
    "adopt",
    "default_model",
    "list_models",
    "open_model",
    "rollback",
    "show_model",
]
