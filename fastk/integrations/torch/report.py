"""What `explain` says of an accelerated module."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fused:
    """Layers that run as one op.

    members: their names in the module, in the order of the calls; what is no module, by the function's name.
    op: the functions of `fastk.autograd` that compute them.
    note: what else there is to know; may be empty.
    """

    members: tuple[str, ...]
    op: str
    note: str = ""

    def __str__(self) -> str:
        note = f"  ({self.note})" if self.note else ""
        return f"{' + '.join(self.members)} → {self.op}{note}"


@dataclass(frozen=True)
class Kept:
    """A layer or a container that runs as torch runs it.

    name: its name in the module; empty for the module itself.
    reason: why.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name or 'the module itself'}: {self.reason}"


@dataclass
class Report:
    """What was fused in a module, and what was not and why.

    fused: a row an op.
    kept: a row for each layer that is computed by torch's own call, and for each container that was not traced.
    """

    title: str
    fused: list[Fused] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [self.title, "fused:", *(f"  {row}" for row in self.fused or ["nothing"])]
        return "\n".join([*lines, "as in torch:", *(f"  {row}" for row in self.kept or ["nothing"])])
