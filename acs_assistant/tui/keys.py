"""The one table of keys. Footer, command palette, help and the docs all come from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        id: What a key map file names to give it another key.
        keys: Textual's names, comma-separated.
        shown: The key as people write it.
        footer: Shown in the footer; the palette and the help list every key.
    """

    scope: str
    id: str
    keys: str
    action: str
    label: str
    tooltip: str
    shown: str = ""
    footer: bool = True
    priority: bool = False

    def binding(self) -> Binding:
        return Binding(
            self.keys,
            self.action,
            self.label,
            show=self.footer,
            key_display=self.shown or None,
            tooltip=self.tooltip,
            id=self.id,
            priority=self.priority,
        )

    @property
    def display(self) -> str:
        return self.shown or self.keys.split(",")[0]


KEYS: tuple[Key, ...] = (
    Key("app", "app.help", "question_mark,f1", "help", "Help", "Every key of this screen", "?"),
    Key("app", "app.palette", "ctrl+p", "command_palette", "Palette",
        "Search every command", "^p", footer=False),
    Key("app", "app.doctor", "f2", "doctor", "Doctor",
        "What is installed, what is missing, what mends it", "F2", footer=False),
    Key("app", "app.settings", "f3", "settings", "Settings",
        "Theme, thoughts, auto turns", "F3", footer=False),
    Key("app", "app.quit", "ctrl+q", "quit", "Quit",
        "Leave; every session is already stored", "^q", footer=False, priority=True),

    Key("sessions", "sessions.open", "enter", "open", "Open", "Go on with this session", "Enter"),
    Key("sessions", "sessions.new", "n", "new", "New", "Circuit, specs, model, budget"),
    Key("sessions", "sessions.reference", "f", "reference", "First steps",
        "A session on the reference circuit with its default specs"),
    Key("sessions", "sessions.search", "slash", "search", "Search",
        "Narrow the list by name, circuit or model", "/"),
    Key("sessions", "sessions.sort", "o", "sort", "Sort", "By date, circuit, score"),
    Key("sessions", "sessions.export", "w", "export", "Export", "Write files from this session"),
    Key("sessions", "sessions.compare", "v", "compare", "Compare",
        "Two runs side by side: who proposed, what was met and when, best sizes, scores",
        footer=False),
    Key("sessions", "sessions.duplicate", "d", "duplicate", "Duplicate",
        "A new session with the same circuit, specs and model", footer=False),
    Key("sessions", "sessions.archive", "x", "archive", "Archive",
        "Put it out of the list; again brings it back", footer=False),
    Key("sessions", "sessions.archived", "X", "toggle_archived", "Archived",
        "Show archived sessions too", footer=False),
    Key("sessions", "sessions.models", "m", "models", "Models", "What is installed, and its card"),
    Key("sessions", "sessions.circuits", "c", "circuits", "Circuits",
        "The circuit library with schematics and references", footer=False),
    Key("sessions", "sessions.training", "t", "training", "Train",
        "Fine-tune the model on saved sessions"),
    Key("sessions", "sessions.bench", "b", "bench", "Bench",
        "Results of benchmarks", footer=False),
    Key("sessions", "sessions.quit", "q", "app.quit", "Quit",
        "Leave; every session is already stored"),

    Key("new", "new.start", "ctrl+s,f5", "start", "Start", "Start the session", "^s",
        priority=True),
    Key("new", "new.add_spec", "ctrl+n", "add_spec", "Add spec", "Add a spec", "^n", priority=True),
    Key("new", "new.back", "escape", "back", "Back", "Back to the sessions", "Esc"),

    Key("design", "design.accept", "a", "accept", "Accept", "Accept the proposal and simulate it"),
    Key("design", "design.edit", "e", "edit", "Edit", "Edit sizes, then simulate"),
    Key("design", "design.reject", "r", "reject", "Reject",
        "Reject with a reason that the model is told"),
    Key("design", "design.regenerate", "g", "regenerate", "Again",
        "Ask for another proposal from the same history"),
    Key("design", "design.candidates", "G,shift+g", "candidates", "Several",
        "Several candidates side by side: take one, or mix one from several", "G"),
    Key("design", "design.mode", "shift+tab", "toggle_mode", "Ask/auto",
        "From asking at every turn to N turns by itself, and back", "⇧Tab"),
    Key("design", "design.run", "space", "run", "Go on", "Start, or go on with, the design loop",
        "Spc"),
    Key("design", "design.stop", "escape", "stop", "Stop",
        "Stop model and simulator at once; the turn is kept", "Esc"),
    Key("design", "design.thoughts", "t", "thoughts", "Thoughts",
        "Open or fold the reasoning of the turns"),
    Key("design", "design.specs", "p", "specs", "Specs",
        "Tighten, relax, add or switch off a spec; the model is told"),
    Key("design", "design.undo", "u", "undo", "Undo", "Back to the turn before; nothing is lost"),
    Key("design", "design.redo", "U", "redo", "Redo", "Forward to the turn that was left",
        footer=False),
    Key("design", "design.export", "w", "export", "Export",
        "Netlist, chat JSONL, CSV or report to a file"),
    Key("design", "design.plot", "full_stop", "next_plot", "Plot",
        "Next plot: score, margins, Bode, transient, noise, dc, trade-off", ".", footer=False),
    Key("design", "design.plot_back", "comma", "previous_plot", "Previous plot",
        "The plot before", ",", footer=False),
    Key("design", "design.axes", "y", "axes", "Axes",
        "Which two metrics the trade-off plot shows", footer=False),
    Key("design", "design.why", "x", "why", "Why",
        "Ask the model about the turn; the answer is kept with it and changes nothing",
        footer=False),
    Key("design", "design.figure", "f", "figure", "Figure",
        "Write a plot as SVG, PNG or PDF", footer=False),
    Key("design", "design.gmid", "d", "gmid", "gm/Id",
        "The selected device on the gm/Id chart of its transistor", footer=False),
    Key("design", "design.compare", "v", "compare", "Compare",
        "Two turns side by side: sizes, metrics and plots", footer=False),
    Key("design", "design.corners", "c", "corners", "Corners",
        "Simulate the best sizing at every corner", footer=False),
    Key("design", "design.monte_carlo", "m", "monte_carlo", "Monte-Carlo",
        "Simulate the best sizing with device mismatch", footer=False),
    Key("design", "design.sensitivities", "s", "sensitivities", "Sensitivities",
        "Which size moves which metric, at the best sizing", footer=False),
    Key("design", "design.proposer", "h", "proposer", "Hand over",
        "Let an optimizer go on from here, or the model again", footer=False),
    Key("design", "design.budget", "b", "budget", "Budget", "Give the session more simulations",
        footer=False),
    Key("design", "design.view_1", "1", "view('proposal')", "Proposal", "Show the proposal",
        footer=False),
    Key("design", "design.view_2", "2", "view('reasoning')", "Reasoning", "Show the reasoning",
        footer=False),
    Key("design", "design.view_3", "3", "view('plots')", "Plots", "Show the plots", footer=False),
    Key("design", "design.view_4", "4", "view('devices')", "Devices",
        "Show the operating points", footer=False),
    Key("design", "design.view_5", "5", "view('history')", "History", "Show the tree of turns",
        footer=False),
    Key("design", "design.view_6", "6", "view('schematic')", "Schematic", "Show the schematic",
        footer=False),
    Key("design", "design.back", "q", "back", "Sessions",
        "Back to the sessions; everything is stored"),

    Key("sizes", "sizes.accept", "ctrl+s,enter", "accept", "Simulate", "Simulate these sizes",
        "Enter", priority=True),
    Key("sizes", "sizes.cancel", "escape", "cancel", "Cancel", "Back to the proposal", "Esc"),
    Key("sizes", "sizes.more", "pageup", "step(1)", "+5 %", "Five percent more", "PgUp",
        priority=True),
    Key("sizes", "sizes.less", "pagedown", "step(-1)", "-5 %", "Five percent less", "PgDn",
        priority=True),
    Key("sizes", "sizes.grid_more", "shift+up", "grid(1)", "+grid", "One grid step more", "⇧Up",
        priority=True),
    Key("sizes", "sizes.grid_less", "shift+down", "grid(-1)", "-grid", "One grid step less", "⇧Dn",
        priority=True),
    Key("sizes", "sizes.undo", "ctrl+z", "undo", "Undo", "Take the last change back", "^z",
        priority=True),

    Key("training", "training.choose", "space", "choose", "On/off",
        "Learn from this session, or not", "Spc"),
    Key("training", "training.all", "A", "all", "All", "Every session that teaches, or none"),
    Key("training", "training.circuit", "c", "circuit", "Circuit",
        "Every session on one circuit"),
    Key("training", "training.simulate", "C", "simulate", "New circuit",
        "A circuit without sessions: simulate it and learn from that"),
    Key("training", "training.start", "ctrl+s,f5", "start", "Start",
        "Start fine-tuning in a process of its own", "^s", priority=True),
    Key("training", "training.stop", "x", "stop", "Stop",
        "Stop; it goes on when started again with the same sessions"),
    Key("training", "training.adopt", "a", "adopt", "Adopt",
        "New sessions start with the new model"),
    Key("training", "training.again", "n", "again", "Again", "Choose sessions for another run"),
    Key("training", "training.rollback", "R", "rollback", "Roll back",
        "The model before the last adopted one"),

    Key("candidates", "candidates.take", "enter", "take", "Take",
        "The candidate under the cursor, or the mix, becomes the proposal", "Enter",
        priority=True),
    Key("candidates", "candidates.mix", "space", "mix", "Mix",
        "Take the size under the cursor into the mix", "Spc"),
    Key("candidates", "candidates.base", "b", "base", "All",
        "Begin the mix with every size of this candidate"),
    Key("candidates", "candidates.more", "g", "more", "More", "Draw as many again"),
    Key("candidates", "candidates.cancel", "escape,q", "cancel", "Back",
        "Stop drawing; again: back without a choice", "Esc"),

    Key("bench", "bench.scope", "l", "scope", "Tasks",
        "All tasks, one level of difficulty, or one circuit"),
    Key("bench", "bench.view_1", "1", "view('shares')", "Shares",
        "Shares met within 1, 3, 5, 10, 20, 50, 100 simulations"),
    Key("bench", "bench.view_2", "2", "view('curves')", "Curves",
        "Success against simulations"),
    Key("bench", "bench.view_3", "3", "view('boxes')", "Boxes",
        "Simulations to the first success, by circuit"),
    Key("bench", "bench.folder", "o", "folder", "Open", "Results in another folder"),
    Key("bench", "bench.again", "r", "again", "Read again", "Look for results again",
        footer=False),

    Key("circuits", "circuits.import", "i", "import", "Import",
        "Make a circuit of your own SPICE files"),

    Key("import", "import.start", "ctrl+s,f5", "start", "Import",
        "Read the files, simulate once, write the circuit folder", "^s", priority=True),
    Key("import", "import.pick", "ctrl+o", "pick", "Pick", "Pick the file from the tree", "^o",
        priority=True),
    Key("import", "import.library", "ctrl+l", "library", "Library",
        "Open the new circuit in the library", "^l", priority=True),

    Key("compare", "compare.plot", "full_stop", "plot(1)", "Plot",
        "Next plot of both: Bode, transient, noise, dc transfer; of runs also the score", "."),
    Key("compare", "compare.plot_back", "comma", "plot(-1)", "Plot before", "The plot before", ",",
        footer=False),

    Key("gmid", "gmid.next", "right,down", "device(1)", "Next", "The next device", "→"),
    Key("gmid", "gmid.previous", "left,up", "device(-1)", "Before", "The device before", "←"),
    Key("gmid", "gmid.axis", "full_stop", "axis(1)", "Axis", "Id/W, gm/gds or fT", "."),
    Key("gmid", "gmid.axis_back", "comma", "axis(-1)", "Axis before", "The quantity before", ",",
        footer=False),
    Key("gmid", "gmid.figure", "f", "figure", "Figure", "Write the chart as SVG, PNG or PDF"),

    Key("models", "models.other", "o", "other", "Other",
        "Any GGUF file, or the address of an OpenAI-compatible server"),
    Key("models", "models.speed", "s", "speed", "Speed",
        "Measure how many tokens a second this model reads and writes here; Esc stops"),
    Key("models", "models.rollback", "R", "rollback", "Roll back",
        "The model before the last adopted one"),

    Key("settings", "settings.save", "ctrl+s", "save", "Save", "Save the settings", "^s",
        priority=True),

    Key("focus", "focus.next", "tab", "app.focus_next", "Next", "To the next panel", "Tab",
        footer=False),
    Key("focus", "focus.copy", "ctrl+c", "screen.copy_text", "Copy", "Copy the selected text", "^c",
        footer=False),

    Key("dialog", "dialog.cancel", "escape", "cancel", "Cancel", "Close without doing it", "Esc"),
    Key("page", "page.back", "escape,q", "back", "Back", "Back", "Esc"),
)  # fmt: skip


def keys_of(*scopes: str) -> tuple[Key, ...]:
    return tuple(key for scope in scopes for key in KEYS if key.scope == scope)


def bindings(*scopes: str) -> list[Binding | tuple[str, str] | tuple[str, str, str]]:
    """The bindings of a screen's scopes, for its ``BINDINGS``."""
    return [key.binding() for key in keys_of(*scopes)]


def unknown_ids(ids: Iterable[str]) -> list[str]:
    """Ids of a user's key map that name no key here."""
    known = {key.id for key in KEYS}
    return sorted(set(ids) - known)
