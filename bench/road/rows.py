"""What is printed: rows of figures, as a table for people or as JSON for programs."""
import statistics
from dataclasses import dataclass, field


@dataclass
class Row:
    """`naru` and `peer` are medians in `unit`; `ratio` is naru/peer. A goal on a name with `_vs_` is held against `ratio`, every
    other against `naru`."""
    name: str
    unit: str
    naru: float | None
    peer: float | None = None
    ratio: float | None = None
    n: int = 1
    always: bool = False  # said although nobody asked for it by name: it tells why another row is missing or of fewer runs

    def as_json(self):
        return {"name": self.name, "unit": self.unit, "naru": _rounded(self.naru), "peer": _rounded(self.peer), "ratio": _rounded(self.ratio), "n": self.n}


@dataclass
class Section:
    """One measurement: its rows, and what is included on each side, in sentences."""
    title: str
    peer: str = ""
    rows: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def keep(self, names):
        self.rows = [row for row in self.rows if row.always or row.name in names]


def _rounded(value):
    return None if value is None else float(f"{value:.4g}")


def alone(name, unit, values):
    return Row(name, unit, statistics.median(values), n=len(values))


def paired(name, unit, naru, peer):
    """Both sides took turns: the ratio is the median of the rounds' ratios, so that a busy moment hits both."""
    if len(naru) != len(peer):
        raise ValueError(f"{name}: {len(naru)} measurements beside {len(peer)}")
    return Row(name, unit, statistics.median(naru), statistics.median(peer), statistics.median(a / b for a, b in zip(naru, peer)), len(naru))


def _figure(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def table(section):
    head = ("", "unit", "naru", section.peer or "peer", "ratio", "n")
    lines = [head] + [(r.name, r.unit, _figure(r.naru), _figure(r.peer), "-" if r.ratio is None else f"{r.ratio:.2f}", str(r.n)) for r in section.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = [f"\n{section.title}"]
    for line in lines:
        text.append("  " + "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in enumerate(zip(line, widths))))
    text += [f"  · {note}" for note in section.notes]
    return "\n".join(text)
