"""Fixtures and paths shared by all tests."""

import sys
from pathlib import Path

# Tests import the harnesses beside this file (``live``, ``world``) by name.
sys.path.insert(0, str(Path(__file__).resolve().parent))
