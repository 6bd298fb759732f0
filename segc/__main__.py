"""`python -m segc` is `segc`."""

from __future__ import annotations

import sys

from segc.cli import main

sys.exit(main())
