"""`fastk bench report`: results as one HTML page that needs nothing else: no script, no font, no request."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fastk.atomic import replacing
from fastk.bench import results, svg
from fastk.errors import ConfigurationError

STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6472; --page: #fff; --line: #dfe3ea; --ours: #1d63d8;
  --slower: #c4452f; --rival: #8a6d1f; --stripe: #f5f7fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b2; --page: #14171c; --line: #2c323b;
  --ours: #6ea8ff; --slower: #ff8a75; --rival: #e0b84c; --stripe: #1a1e25; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 1200px;
  margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.7rem; margin-bottom: .25rem; } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; } p, figcaption, .about { color: var(--soft); }
figure { margin: 1rem 0; } figcaption { font-size: .85rem; } code { font-size: .9em; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg .tick { fill: var(--soft); font-size: 11px; } svg .number { font-size: 10px; fill: var(--soft); }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--soft); } svg .faster, svg .ours { fill: var(--ours); }
svg .slower { fill: var(--slower); } svg .rival { fill: none; stroke: var(--rival); stroke-width: 2; }
svg .roof { fill: none; stroke: var(--soft); stroke-width: 2; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .82rem; width: 100%; }
th, td { padding: .25rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2), td.why { text-align: left; }
td.why { color: var(--soft); white-space: normal; } tr.ours td { background: var(--stripe); font-weight: 600; }
ol.legend { columns: 2; font-size: .8rem; color: var(--soft); } dl.about { display: grid; font-size: .85rem;
  grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dt { font-weight: 600; } dd { margin: 0; }
"""
COLUMNS = (
    ("ms p50", "", lambda row: row["ms"]["p50"], ".4f"),
    ("p20", "", lambda row: row["ms"]["p20"], ".4f"),
    ("p80", "", lambda row: row["ms"]["p80"], ".4f"),
    (
        "× fastk",
        "the median ratio to fastk's time; above 1: fastk is faster",
        lambda row: row.get("times_fastk"),
        ".2f",
    ),
    ("% best rival", "the best rival's time over this one's", lambda row: row.get("best_rival_percent"), ".0f"),
    ("TFLOP/s", "", lambda row: row.get("tflops"), ".3f"),
    ("GB/s", "", lambda row: row.get("gbs"), ".1f"),
    ("% roofline", "of what the machine reached in this run", lambda row: row.get("roofline_percent"), ".0f"),
    ("launches", "", lambda row: row.get("launches"), "d"),
)


def page(found: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The whole page.

    Args:
        found: names and results.
    """
    sections = "".join(part for name, result in found for part in _section(name, result))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>fastk benchmarks</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        "<h1>fastk benchmarks</h1><p>Medians of calls that took turns in one run, after each had passed a check of "
        "what it computes. A row that failed has no number.</p>"
        f"{sections}</body></html>\n"
    )


def _section(name: str, result: dict[str, Any]) -> Iterator[str]:
    about, rows = result["about"], result["rows"]
    yield f"<h2>{escape(str(about['name']))}</h2>{_about(name, about)}"
    for kind, title in (("model", "Models"), ("op", "Operations")):
        of_kind = [row for row in rows if row["kind"] == kind]
        if not of_kind:
            continue
        yield f"<h3>{title}: fastk beside the best rival</h3>"
        yield _figure(svg.bars(speedups(of_kind), title), "The best rival's median time over fastk's, as dispatched.")
        if kind == "op" and "measured" in result["rooflines"]:
            yield from _rooflines(of_kind, result["rooflines"]["measured"], about)
        yield f"<h3>{title}: all rows</h3>{_table(of_kind)}"


def _about(name: str, about: dict[str, Any]) -> str:
    versions = ", ".join(f"{package} {version}" for package, version in about["versions"].items())
    facts = {
        "file": name,
        "device": " ".join(str(about[key]) for key in ("name", "driver", "cuda") if about.get(key)),
        "processor": f"{about['cpu']}, {about['threads']} threads",
        "versions": versions,
        "commit": about["commit"],
        "date": about["date"],
        "caches": "cold" if about.get("cold") else "warm",
    }
    if about.get("quick"):
        facts["note"] = "a quick run: few rounds"
    listed = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in facts.items())
    return f'<dl class="about">{listed}</dl>'


def speedups(rows: Iterable[dict]) -> list[svg.Bar]:
    """A bar for each measurement of fastk that has a rival."""
    return [
        svg.Bar(
            _what(row),
            row["best_rival_percent"] / 100,
            f"{row['best_rival']} ({row['ms']['p50']:.4g} ms a call of fastk)",
        )
        for row in rows
        if row["provider"] == results.REFERENCE and "best_rival_percent" in row
    ]


def _rooflines(rows: Sequence[dict], measured: dict[str, Any], about: dict[str, Any]) -> Iterator[str]:
    for dtype, peak in measured["product_tflops"].items():
        points = list(_points(rows, dtype))
        if not points:
            continue
        title = f"Roofline, {dtype}: {measured['copy_gbs']:.0f} GB/s, {peak:.3g} TFLOP/s measured"
        caption = "Filled: fastk; hollow: the best rival. Ops without products are in the table alone."
        if not about.get("cold"):
            caption += " Caches were warm: what fits into them may lie above the slope, which is memory's."
        legend = "".join(f"<li>{escape(point.label)}</li>" for point in points)
        chart = svg.roofline(points, measured["copy_gbs"], peak, title)
        yield f"<h3>{escape(title)}</h3>{_figure(chart, caption)}<ol class='legend'>{legend}</ol>"


def _points(rows: Sequence[dict], dtype: str) -> Iterator[svg.Point]:
    best = {key[:-1]: row.get("best_rival") for key, row in results.times_of(rows).items()}
    for row in rows:
        ours = row["provider"] == results.REFERENCE
        if row["dtype"] == dtype and row.get("tflops") and (ours or best[results.key(row)[:-1]] == row["provider"]):
            label = f"{_what(row)}: {row['provider']}"
            yield svg.Point(label, row["flops"] / row["bytes"], row["tflops"], ours)


def _table(rows: Sequence[dict]) -> str:
    timed = [row for row in rows if "ms" in row]
    columns = [column for column in COLUMNS if any(column[2](row) is not None for row in timed)]
    heads = "".join(f'<th title="{escape(about)}">{name}</th>' for name, about, _, _ in columns)
    body = []
    for row in rows:
        provider = escape(row["provider"] + (f" ({row['ran']})" if row.get("ran") else ""))
        if "failed" in row:
            cells = f'<td class="why" colspan="{len(columns)}">{escape(row["failed"])}</td>'
        else:
            cells = "".join(_cell(value(row), how) for _, _, value, how in columns)
        kind = ' class="ours"' if results.ours(row["provider"]) else ""
        body.append(f"<tr{kind}><td>{escape(_what(row))}</td><td>{provider}</td>{cells}</tr>")
    return (
        f'<div class="wide"><table><thead><tr><th>what</th><th>provider</th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(value: Any, how: str) -> str:
    return f"<td>{'' if value is None else format(value, how)}</td>"


def _figure(chart: str, caption: str) -> str:
    return f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>"


def _what(row: dict) -> str:
    measure = "fwd+bwd" if row["measure"] == "forward+backward" else row["measure"]
    return f"{row['case']} {row['variant']} {_short(row['dtype'])}, {measure}"


def _short(dtype: str) -> str:
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "mixed_bfloat16": "bf16"}.get(dtype, dtype)


def register(commands: Any, guarded: Callable) -> None:
    """Adds the command to `fastk bench`'s."""
    parser = commands.add_parser(
        "report",
        help="results as one page",
        description="Makes one HTML page of files of `fastk bench --json`; it opens in any browser, without a network.",
    )
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the models' speed-ups too; needs matplotlib")
    parser.set_defaults(run=guarded(run))


def run(options: argparse.Namespace) -> int:
    """Writes the page."""
    found = [(str(path), results.load(path)) for path in options.results]
    with replacing(options.output) as file:
        file.write(page(found).encode())
    print(f"Written: {options.output}")
    if options.png:
        from fastk.bench import figures

        try:
            figures.speedups(found[0][1], options.png)
        except ImportError as error:
            raise ConfigurationError(str(error)) from None
        print(f"Written: {options.png}")
    return 0
