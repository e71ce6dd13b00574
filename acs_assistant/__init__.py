"""ACS Assistant: a local language model sizes analog circuits, ngspice measures every proposal."""

__version__ = "0.1.0"
