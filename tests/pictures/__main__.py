"""Draws the pictures of `charlm/guide/pictures`.

python -m tests.pictures [NAME...]    draws all, or those that are named
"""

from __future__ import annotations

import sys
import time

from tests.pictures import FOLDER, PICTURES

FOLDER.mkdir(exist_ok=True)
for name in sys.argv[1:] or PICTURES:
    begin = time.perf_counter()
    (FOLDER / f"{name}.svg").write_text(PICTURES[name]())
    print(f"{name}.svg {time.perf_counter() - begin:.0f} s", flush=True)
