"""Every setting with its documentation, from the typed settings model; saved atomically."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ValidationError
from rich.cells import cell_len
from textual import work
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widgets import Input, Static

from acs_assistant.config import Settings, settings_file
from acs_assistant.errors import AcsError
from acs_assistant.tui.keys import bindings
from acs_assistant.tui.screens.page import Bindings, Page
from acs_assistant.tui.themes import THEMES
from acs_assistant.tui.widgets.key_bar import KeyBar


class SettingRow(Horizontal):
    def __init__(self, section: str, name: str, value: object, text: str) -> None:
        super().__init__(classes="setting")
        self.section = section
        self.key = name
        self.value = value
        self.text = text

    def compose(self) -> ComposeResult:
        yield Static(self.key, classes="setting-name", markup=False)
        yield Input(_written(self.value), compact=True)
        yield Static(self.text, classes="setting-text muted", markup=False)


class SettingsScreen(Page):
    """A field per setting; a value that cannot be used says so and is not saved."""

    CSS_PATH = "settings.tcss"
    KEY_SCOPES: ClassVar[tuple[str, ...]] = ("settings", "page")
    BINDINGS: ClassVar[Bindings] = [*bindings("page"), *bindings("settings")]

    def compose(self) -> ComposeResult:
        settings = self.acs.services.settings
        yield Static(f"Settings · {settings_file()}", classes="page-title", markup=False)
        with VerticalScroll(classes="panel"):
            for section in type(settings).model_fields:
                part = getattr(settings, section)
                if not isinstance(part, BaseModel):
                    continue
                yield Static(section, classes="section", markup=False)
                for name, field in type(part).model_fields.items():
                    text = field.description or ""
                    if (section, name) == ("interface", "theme"):
                        text = f"One of: {', '.join(theme.name for theme in THEMES)}."
                    yield SettingRow(section, name, getattr(part, name), text)
        yield Static("", classes="fault", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.query(Input).first().focus()

    def on_input_changed(self) -> None:
        self._read()

    def on_descendant_focus(self) -> None:
        self._read()

    def on_resize(self) -> None:
        self.call_after_refresh(self._read)

    def _read(self) -> Settings | None:
        """The settings as typed; None, and words, when a field cannot be used."""
        document = self.acs.services.settings.model_dump()
        for row in self.query(SettingRow):
            document[row.section][row.key] = row.query_one(Input).value
        fault = self.query_one(".fault", Static)
        for row in self.query(SettingRow):
            row.query_one(Input).remove_class("-invalid")
        try:
            settings = Settings.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            place = [str(part) for part in first["loc"]]
            for row in self.query(SettingRow):
                if [row.section, row.key] == place[:2]:
                    row.query_one(Input).add_class("-invalid")
            message = f"✗ {'.'.join(place)}: {first['msg']}"
            fault.update(Content.styled(message, "$text-error"))
            return None
        theme = settings.interface.theme
        if theme and theme not in self.app.available_themes:
            fault.update(Content.styled(f"✗ There is no theme '{theme}'.", "$text-error"))
            return None
        fault.update(Content.styled(self._cut_off(), "$foreground-muted"))
        return settings

    def _cut_off(self) -> str:
        """What the setting that has the focus is for, when its line has no room for all of it."""
        for row in self.query(SettingRow):
            room = row.query_one(".setting-text").size.width
            if row.query_one(Input).has_focus and cell_len(row.text) > room:
                return row.text
        return ""

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        settings = self._read()
        if settings is None:
            return
        try:
            await self.acs.offload(self.acs.services.save_settings, settings)
        except AcsError as error:
            self.acs.fail(error)
            return
        self.acs.services.settings = settings
        if settings.interface.theme:
            self.app.theme = settings.interface.theme
        self.notify("Saved. New sessions use it.")
        self.dismiss()


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
