"""Charts as PNG, for pages that show no SVG; drawn by matplotlib."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from fastk.bench import results
from fastk.errors import ConfigurationError

WIDE = 10  # ratios beyond which the axis is logarithmic
COLOURS = ("#8a94a6", "#d08c2f", "#3f9b6d", "#b0567f", "#6b6fc4")


def speedups(result: dict[str, Any], path: Path) -> None:
    """Draws, for each model, how many times as long as fastk's its rivals' training steps take.

    Args:
        result: as of `results.load`.
        path: the file to write.

    Raises:
        ImportError: matplotlib is not installed.
        ConfigurationError: no model in the result has times of fastk and of a rival.
    """
    models, bars = ratios(result)
    if not bars:
        raise ConfigurationError(
            "The result has no model that fastk and a rival trained: measure with `fastk bench --models`."
        )
    try:
        matplotlib = importlib.import_module("matplotlib")
    except ImportError:
        raise ImportError("--png draws with matplotlib, which is not installed: pip install matplotlib") from None
    matplotlib.use("agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
    width = 0.8 / len(bars)
    for number, (rival, values) in enumerate(bars.items()):
        places = [place + (number - (len(bars) - 1) / 2) * width for place in range(len(models))]
        shown = axes.bar(places, [v or 0 for v in values], width * 0.9, label=rival, color=COLOURS[number % 5])
        axes.bar_label(shown, [f"{v:.1f}" if v else "" for v in values], fontsize=7, color="#444444")
    axes.axhline(1, color="#1d63d8", linewidth=1.5)
    axes.annotate("fastk", (1.0, 1), xycoords=("axes fraction", "data"), color="#1d63d8", va="center")
    if max(value for values in bars.values() for value in values if value) > WIDE:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(importlib.import_module("matplotlib.ticker").ScalarFormatter())
    axes.set_xticks(range(len(models)), models)
    axes.set_ylabel("time of a training step, × fastk's")
    axes.set_title(f"{result['about']['name']}, {result['about']['threads']} threads", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=len(bars))
    figure.savefig(path, dpi=160, format="png")
    pyplot.close(figure)


def ratios(result: dict[str, Any]) -> tuple[list[str], dict[str, list[float | None]]]:
    """The models, and for each rival the ratios of its training step to fastk's, None where it has none."""
    found: dict[str, dict[str, float]] = {}
    for row in result["rows"]:
        rival = row["kind"] == "model" and row["measure"] == "fit" and not results.ours(row["provider"])
        if rival and "times_fastk" in row:
            found.setdefault(row["provider"], {})[row["case"]] = row["times_fastk"]
    measured = {model for values in found.values() for model in values}
    models = list(
        dict.fromkeys(row["case"] for row in result["rows"] if row["kind"] == "model" and row["case"] in measured)
    )
    return models, {rival: [values.get(model) for model in models] for rival, values in found.items()}
