"""Measures cases and makes rows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fastk.bench import results
from fastk.bench.ops import clock as clocks
from fastk.bench.ops.cases import Case, Maker, cases
from fastk.bench.ops.gate import HOPELESS, Gate
from fastk.bench.ops.providers import Contender, NotHere, contender, takes_part
from fastk.bench.ops.roofline import Roofline

FORWARD, BOTH = "forward", "forward+backward"
HEADS = {"ms p50": 10, "p20": 10, "p80": 10, "× fastk": 9, "TFLOP/s": 9, "GB/s": 8, "% roof": 8, "% best": 8}


@dataclass(frozen=True)
class Options:
    """How ops are measured.

    Args:
        device: `"cpu"` or `"cuda"`.
        providers: names of `providers.PROVIDERS`.
        rounds: at most, for each case.
        seconds: after which no further round of a case begins.
        cold: whether a CPU's caches are emptied before each sample.
        seed: of the operands.
    """

    device: str
    providers: Sequence[str]
    rounds: int
    seconds: float
    cold: bool = False
    seed: int = 0


def chosen(device: str, ops: Sequence[str], quick: bool) -> list[Case]:
    """The cases to measure; no `ops` for all of them."""
    return [
        case for case in cases() if device in case.devices and (not ops or case.op in ops) and (case.quick or not quick)
    ]


def measure(case: Case, dtype: torch.dtype, options: Options, clock: clocks.Clock, roofline: Roofline) -> list[dict]:
    """The rows of a case: for each provider one a direction, or one that says why there is none."""
    torch.manual_seed(options.seed)
    inputs = case.make(Maker(options.device, dtype))
    name = str(dtype).removeprefix("torch.")
    common = {"kind": "op", "case": case.op, "variant": case.variant, "dtype": name, "source": case.source}
    providers = [provider for provider in options.providers if takes_part(provider, case)]
    found = _contenders(case, inputs, providers)
    passed = {provider: one for provider, one in found.items() if isinstance(one, Contender)}
    ready, failed = _ready(passed, clock)
    failed = {provider: one for provider, one in found.items() if isinstance(one, str)} | failed
    times = clocks.in_turns(clock, ready, options.rounds, options.seconds)
    rows = []
    for direction in (FORWARD, BOTH):
        samples = {provider: values for (provider, way), values in times.items() if way == direction}
        work = _work(case, inputs, direction)
        in_memory = options.device == "cuda" or options.cold
        for provider, facts in results.timed(samples).items():
            row = common | {"measure": direction, "provider": provider} | facts
            call = passed[provider].forward if direction == FORWARD else passed[provider].both
            if provider != results.FLOOR:
                row |= work | _rates(work, facts["ms"]["p50"], roofline, name, in_memory)
            if results.ours(provider):
                row["ran"] = passed[provider].ran()
                if options.device == "cuda" and call is not None:
                    row["launches"] = clocks.launches(call)
            rows.append(row)
    rows += [common | {"measure": FORWARD, "provider": p, "failed": why} for p, why in failed.items()]
    return sorted(rows, key=lambda row: (row["measure"] == BOTH, providers.index(row["provider"])))


def _contenders(case: Case, inputs: tuple[Tensor, ...], providers: Sequence[str]) -> dict[str, Contender | str]:
    """Those that passed the gate, and for the others why they did not. torch is always asked: it is the measure."""
    g = None if case.results else _gradient_of_result(case, inputs)
    gate = Gate(case, inputs, g)
    usual = _checked("torch", case, inputs, gate)
    if isinstance(usual, str) or not max(usual[1]) < HOPELESS:
        why = usual if isinstance(usual, str) else f"relative errors {usual[1]}"
        return dict.fromkeys(providers, f"torch itself is wrong, so that nothing can be judged: {why}")
    found: dict[str, Contender | str] = {}
    for provider in providers:
        checked = usual if provider == "torch" else _checked(provider, case, inputs, gate)
        if isinstance(checked, str):
            found[provider] = checked
        else:
            found[provider] = gate.refusal(checked[1], usual[1]) or checked[0]
    return found


def _checked(provider: str, case: Case, inputs: tuple[Tensor, ...], gate: Gate) -> tuple[Contender, list[float]] | str:
    try:
        one = contender(provider, case, inputs, gate.g)
        return one, gate.errors(one.values()) if one.values else []
    except NotHere as reason:
        return str(reason)
    except Exception as error:  # whatever stops a provider is a line of the report
        return _in_a_line(error)


def _ready(
    contenders: dict[str, Contender], clock: clocks.Clock
) -> tuple[dict[tuple[str, str], Callable[[], object]], dict[str, str]]:
    ready: dict[tuple[str, str], Callable[[], object]] = {}
    failed: dict[str, str] = {}
    for provider, one in contenders.items():
        try:
            own = {
                (provider, way): clock.ready(call) for way, call in ((FORWARD, one.forward), (BOTH, one.both)) if call
            }
        except Exception as error:  # for example an operation that no CUDA graph can hold
            failed[provider] = _in_a_line(error)
        else:
            ready |= own
    return ready, failed


def _in_a_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _gradient_of_result(case: Case, inputs: tuple[Tensor, ...]) -> Tensor:
    with torch.no_grad():
        return torch.randn_like(case.call(*inputs, implementation="aten"))


def _work(case: Case, inputs: tuple[Tensor, ...], direction: str) -> dict[str, int]:
    """FLOPs of products and least bytes: each operand read, each result and gradient written once."""
    if case.least_bytes is not None:
        return {"flops": 0, "bytes": case.least_bytes(inputs)}
    with torch.no_grad():
        result = _bytes(case.call(*inputs, implementation="aten"))
    operands = sum(map(_bytes, inputs))
    if direction == FORWARD:
        return {"flops": case.flops, "bytes": operands + result}
    written = sum(_bytes(x) for x in inputs if x.requires_grad)
    read = result + (operands if case.rereads else 0)
    return {"flops": 3 * case.flops, "bytes": operands + result + read + written}


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _rates(work: dict[str, int], ms: float, roofline: Roofline, dtype: str, in_memory: bool) -> dict[str, float]:
    found = {"gbs": work["bytes"] / ms / 1e6}
    if work["flops"]:
        found["tflops"] = work["flops"] / ms / 1e9
    least = roofline.milliseconds(work["flops"], work["bytes"] if in_memory else None, dtype)
    return found if least is None else found | {"roofline_percent": 100 * least / ms}


def table(rows: Sequence[dict]) -> Iterator[str]:
    """The lines that show a case's rows."""
    first = rows[0]
    yield f"\n{first['case']} {first['variant']} {first['dtype']} ({first['source']})"
    heads = "".join(f"{head:>{width}}" for head, width in HEADS.items())
    yield f"  {'':31}{heads}"
    for row in rows:
        name = row["provider"] + (f" ({row['ran']})" if row["provider"] == results.REFERENCE and row.get("ran") else "")
        if "failed" in row:
            yield f"  {name:17}{'–':14}{row['failed']}"
            continue
        ms = row["ms"]
        cells = (
            (row.get("times_fastk"), 9, ".2f"), (row.get("tflops"), 9, ".3f"), (row.get("gbs"), 8, ".1f"),
            (row.get("roofline_percent"), 8, ".0f"), (row.get("best_rival_percent"), 8, ".0f"),
        )  # fmt: skip
        shown = "".join(f"{'' if value is None else format(value, how):>{width}}" for value, width, how in cells)
        way = {FORWARD: "forward", BOTH: "and backward"}[row["measure"]]
        yield f"  {name:17}{way:14}{ms['p50']:10.4f}{ms['p20']:10.4f}{ms['p80']:10.4f}{shown}"
