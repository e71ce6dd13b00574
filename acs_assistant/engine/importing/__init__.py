"""A person's own SPICE files become a circuit folder, and a report of what became of each part."""

from acs_assistant.engine.importing.folder import Imported, import_circuit

__all__ = ["Imported", "import_circuit"]
