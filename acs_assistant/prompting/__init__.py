"""One renderer, parser and grammar for the app, training and evaluation."""
