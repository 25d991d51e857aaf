"""Writes `docs/exchange.md`, what is exchanged with Keras, from the lists that `tests/saving/test_exchange.py` runs.

python tools/exchange_page.py
"""

import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "saving"))
exchange = importlib.import_module("exchange")

PAGE = ROOT / "docs" / "exchange.md"
HEAD = """\
# Files exchanged with Keras

Each row is a model that the tests take both ways between fastk and Keras 3.15.1, as a `.keras` file saved after some
steps of training; *yes* is a test that passes. What is compared:

- *Keras → fastk*, *fastk → Keras*: the side that loads has the same weights, to the bit, and the same predictions,
  losses and metrics; architecture, arguments and compilation come from the file alone.
- *optimizer*: every variable of the optimizer is the same, to the bit.
- *trained on*: both sides take three further steps on the same data (one, where Keras's file is in the repository).
  Losses, predictions, and the weights and optimizer variables in the end are the same within a relative 1e-4; in half
  precision within 16 roundings of the largest value.

The page is written by `tools/exchange_page.py`; [files](files.md) has the formats themselves.
"""
COLUMNS = """
| model | what it is | Keras → fastk | fastk → Keras | optimizer | trained on |
|---|---|---|---|---|---|
"""


def row(name: str) -> str:
    """The row of a model."""
    compiled = name not in ("every_layer", "boxed", "plain_layers")
    reason = exchange.NOT_CONTINUED.get(name)
    continued = "yes" if reason is None else f"no: {reason}" if compiled else "–"
    return f"| `{name}` | {exchange.what(name)} | yes | yes | {'yes' if compiled else '–'} | {continued} |\n"


def render() -> str:
    """The whole page."""
    parts = {
        "Models whose files Keras wrote, kept in `tests/saving/golden`": exchange.GOLDEN,
        "Further models": exchange.TRAINED,
        "Optimizers, each with the state of a small model": exchange.OPTIMIZERS,
        "Descriptions": exchange.DESCRIBED,
    }
    page = HEAD
    for title, names in parts.items():
        page += f"\n## {title}\n{COLUMNS}" + "".join(row(name) for name in names)
    page += f"\n## Vocabularies\n{COLUMNS}"
    text = "layers of text, lookups, Discretization and Normalization, adapted; Keras runs them with TensorFlow"
    where = "yes, where TensorFlow is installed"
    page += f"| `text` | {text} | yes | {where} | yes | yes |\n"
    weights = ", ".join(f"`{name}`" for name in exchange.WEIGHTS)
    old = ", ".join(f"`{name}`" for name in exchange.OLD)
    return f"""{page}
## Other formats

- `.weights.h5` and sharded `.weights.json`, both ways, the layers also in attributes, lists and dicts of subclassed
  models: {weights}.
- `.h5`, Keras's format before `.keras`, both ways: {old}. Keras 3.15 does not load the state
  of the optimizer from such a file; fastk does.
"""


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
