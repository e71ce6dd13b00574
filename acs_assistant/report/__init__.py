"""What leaves the app: SPICE decks, chat JSONL, CSV, figures and the HTML report."""
