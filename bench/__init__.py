"""What ops and whole models cost beside their rivals: `fastk bench`. `docs/benchmarking.md` says how to read it.

`ops/` times single ops in this process, `models/` whole models in a process for each rival. Both first check that
a rival computes the same, let all take turns, and write rows of one format (`results.py`), which `compare.py`,
`report.py` and `aims.py` read.
"""

if __name__ != "fastk.bench":
    raise ImportError(
        f"This folder is the package fastk.bench, not {__name__!r}: run `fastk bench` or `python -m fastk bench`. "
        "Where another package named 'bench' was meant, start Python outside the fastk repository."
    )
