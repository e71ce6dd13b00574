"""Dark, light and high-contrast. Style sheets name theme variables only, never a colour."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="acs-dark",
    primary="#7aa2c9",
    secondary="#8a93a3",
    accent="#d7a65f",
    foreground="#d4d8de",
    background="#14171b",
    surface="#191d22",
    panel="#232930",
    success="#86b56f",
    warning="#d7a65f",
    error="#d9777f",
    dark=True,
    variables={"border": "#39424d", "footer-key-foreground": "#d7a65f"},
)

LIGHT = Theme(
    name="acs-light",
    primary="#1f5f99",
    secondary="#5b6470",
    accent="#8a5a00",
    foreground="#1d2329",
    background="#f6f6f3",
    surface="#fcfcfa",
    panel="#e6e7e3",
    success="#2d6a1f",
    warning="#8a5a00",
    error="#a8262f",
    dark=False,
    variables={"border": "#b4b8b2", "footer-key-foreground": "#8a5a00"},
)

HIGH_CONTRAST = Theme(
    name="acs-high-contrast",
    primary="#66ccff",
    secondary="#ffffff",
    accent="#ffff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#262626",
    success="#00ff66",
    warning="#ffff00",
    error="#ff7070",
    dark=True,
    text_alpha=1.0,
    variables={
        "border": "#ffffff",
        "footer-key-foreground": "#ffff00",
        "foreground-muted": "#d8d8d8",
        "text-muted": "#d8d8d8",
    },
)

THEMES = (DARK, LIGHT, HIGH_CONTRAST)
