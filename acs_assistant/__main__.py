"""``python -m acs_assistant`` is the command ``acs-assistant``."""

from acs_assistant.cli import main

if __name__ == "__main__":
    main()
