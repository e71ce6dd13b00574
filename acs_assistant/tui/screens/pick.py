"""Pick a file or a folder from the tree, or type its path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from textual.app import ComposeResult
from textual.widgets import DirectoryTree, Input, Static

from acs_assistant.tui.screens.page import Dialog


class _Tree(DirectoryTree):
    """Without hidden files; folders only, where a folder is wanted."""

    def __init__(self, path: Path, folders: bool) -> None:
        super().__init__(path)
        self._folders = folders

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [
            path
            for path in paths
            if not path.name.startswith(".") and (path.is_dir() or not self._folders)
        ]


class PickDialog(Dialog[Path]):
    """Answers with a path that exists. Typing a folder and Enter goes there."""

    def __init__(self, title: str, start: Path, *, folders: bool = False) -> None:
        super().__init__()
        self._title = title
        self._start = start
        self._folders = folders

    def body(self) -> ComposeResult:
        yield Input(str(self._start), compact=True, id="path", select_on_focus=False)
        yield Static("", classes="fault", markup=False)
        yield _Tree(self._start, self._folders)

    def subtitle(self) -> str:
        return "Enter opens or takes · Tab to the path · Esc closes"

    def on_mount(self) -> None:
        self.query_one(".box").border_title = self._title
        self.query_one(DirectoryTree).focus()

    def on_directory_tree_file_selected(self, event: DirectoryTree.FileSelected) -> None:
        self.dismiss(event.path)

    def on_directory_tree_directory_selected(self, event: DirectoryTree.DirectorySelected) -> None:
        self.query_one(Input).value = str(event.path)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        path = Path(event.value.strip()).expanduser()
        if not path.exists():
            self.query_one(".fault", Static).update("✗ There is nothing of that name.")
        elif path.is_dir() and not self._folders:
            self.query_one(DirectoryTree).path = path
            self.query_one(DirectoryTree).focus()
        elif path.is_dir() or not self._folders:
            self.dismiss(path)
        else:
            self.query_one(".fault", Static).update("✗ That is a file; a folder is wanted.")
