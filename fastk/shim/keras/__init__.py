"""`keras` as the processes find it that a program under `fastk run` spawns: fastk, under Keras's name."""

import importlib.util
import sys
from pathlib import Path

SERVED_BY_FASTK = True

if importlib.util.find_spec("fastk") is None:  # a checkout that was on the path by the current folder alone
    sys.path.append(str(Path(__file__).resolve().parents[3]))

from fastk.as_keras import install_as_keras  # noqa: E402 - found by what stands above

install_as_keras()
