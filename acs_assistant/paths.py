"""Where things live, XDG style. Nothing here makes a folder; the writers do."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path, user_config_path, user_data_path

_APP = "acs-assistant"


def data_dir() -> Path:
    """``$XDG_DATA_HOME/acs-assistant``: sessions, device models, the user's circuits and models."""
    return user_data_path(_APP, appauthor=False)


def config_dir() -> Path:
    """``$XDG_CONFIG_HOME/acs-assistant``: settings and key map."""
    return user_config_path(_APP, appauthor=False)


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/acs-assistant``: folded libraries, stored simulations; safe to delete."""
    return user_cache_path(_APP, appauthor=False)


def database() -> Path:
    return data_dir() / "sessions.db"


def bundled_circuits() -> Path:
    return Path(__file__).parent / "circuits"


def user_circuits() -> Path:
    return data_dir() / "circuits"


def bundled_models() -> Path:
    return Path(__file__).parent / "models"


def user_models() -> Path:
    return data_dir() / "models"


def pdk_dir() -> Path:
    return data_dir() / "pdk"
