"""Records as markdown tables: of one call, of two compared, of all that benchmarks/ keeps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from isingnpu.archive import FilePath, replacing
from isingnpu.bench.ratios import Ratio, Trials, median_ratio, target_ratio
from isingnpu.bench.records import Record, Session, read_jsonl

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
NO_RESULTS = "No results are stored."

_CAPTIONS = {
    "throughput": "Median of {} repeats (least .. largest); ratios likewise, of the pairs.",
    "TTS99": "Median and 68 % interval of the posterior, from {} batches of reads.",
}


def table(records: Sequence[Record]) -> str:
    """Markdown: a table per metric and unit, below it what is excluded and the notes by case."""
    kinds = dict.fromkeys((record.metric, record.unit) for record in records)
    tables = [_table([r for r in records if (r.metric, r.unit) == kind]) for kind in kinds]
    return "\n\n".join(tables)


def _table(records: Sequence[Record]) -> str:
    peers = list(dict.fromkeys(name for record in records for name in record.ratio_to))
    head = ["case", "sites", "edges", "reads x sweeps", "kernel", records[0].unit, "cycles each"]
    head += [f"times faster than {peer}" for peer in peers]
    parts = [_markdown(head, [_row(record, peers) for record in records])]
    measured = [record for record in records if record.measured]
    if measured:
        repeats = " or ".join(map(str, sorted({record.repeats for record in measured})))
        excluded = dict.fromkeys(f"Excluded: {record.excluded}." for record in measured)
        parts.append("\n".join([_CAPTIONS[records[0].metric].format(repeats), *excluded]))
    notes = [f"- {record.case}: {note}" for record in records for note in record.notes]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def _row(record: Record, peers: Sequence[str]) -> list[str]:
    if not record.measured:
        return [record.case, "", "", "", "", "not measured", *[""] * (1 + len(peers))]
    kernel = f"{record.kernel} ({record.layout})"
    if record.threads > 1:
        kernel += f", {record.threads} threads"
    return [
        record.case,
        str(record.n),
        str(record.edges),
        f"{record.replicas} x {record.sweeps}",
        kernel,
        _number(record),
        "" if math.isnan(record.cycles) else f"{record.cycles:.3g}",
        *(
            _spread(record.ratio_to[peer], *record.ratio_range[peer])
            if peer in record.ratio_to
            else ""
            for peer in peers
        ),
    ]


def _number(record: Record) -> str:
    if math.isnan(record.value):  # the target was never reached
        return f"> {record.low:.3g}"
    return _spread(record.value, record.low, record.high)


def _spread(value: float, low: float, high: float) -> str:
    return f"{value:.3g} ({low:.3g} .. {high:.3g})"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def compare(path_a: FilePath, path_b: FilePath) -> str:
    """Markdown: how many times faster file B is than A, newest record per case, 68 % intervals.

    A throughput has the exact bootstrap of its repeats, a time to target its posterior. Raises
    ValueError if the files have no case in common."""
    (sessions_a, a), (sessions_b, b) = _newest(path_a), _newest(path_b)
    cases = [case for case in a if case in b]
    if not cases:
        raise ValueError(f"{path_a} and {path_b} have no measured case in common")
    lines = [
        f"{x}: {title}" for x, some in (("A", sessions_a), ("B", sessions_b)) for title in some
    ]
    rows = [
        [case, a[case].unit, _number(a[case]), _number(b[case]), _faster(a[case], b[case])]
        for case in cases
    ]
    return "\n\n".join([*lines, _markdown(["case", "unit", "A", "B", "B times faster"], rows)])


def _newest(path: FilePath) -> tuple[list[str], dict[str, Record]]:
    """Titles of the calls that count, and the last measured record of each case."""
    newest: dict[str, tuple[str, Record]] = {}
    for session in read_jsonl(path):
        for record in session.records:
            if record.measured:
                newest[record.case] = session.title(), record
    titles = list(dict.fromkeys(title for title, _ in newest.values()))
    return titles, {case: record for case, (_, record) in newest.items()}


def _faster(a: Record, b: Record) -> str:
    for name in ("metric", "unit", "n", "edges"):
        if getattr(a, name) != getattr(b, name):
            return f"not comparable: {name} {getattr(a, name)} and {getattr(b, name)}"
    ratio: Ratio | None
    if a.metric == "throughput":
        ratio = median_ratio(b.samples, a.samples)
    else:
        ratio = target_ratio(Trials.of_record(b), Trials.of_record(a))
    return "the target was not reached" if ratio is None else _spread(*ratio)


def report(path: FilePath) -> str:
    """Rewrite the part of PATH/README.md between the markers from PATH/results/**/*.jsonl.

    Each call has a heading with machine, commit and date and the cases that no later call on
    the same machine has measured; quick records are left out. Returns that part. Raises
    ValueError if README.md lacks the markers, FileNotFoundError if there is none."""
    readme = Path(path) / "README.md"
    text = readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{readme} must hold the lines {BEGIN} and {END} once, in this order")
    files = sorted((Path(path) / "results").rglob("*.jsonl"))
    tables = _report([session for file in files for session in read_jsonl(file)])
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    with replacing(readme) as file:
        file.write(f"{before}{BEGIN}\n{tables}\n{END}{after}".encode())
    return tables


def _report(sessions: Iterable[Session]) -> str:
    parts: list[str] = []
    seen: set[tuple[object, ...]] = set()
    for session in sorted(sessions, key=lambda s: s.date, reverse=True):
        machine = (session.machine["processor"], session.machine["cores"])
        fresh = []
        for record in session.records:
            key = (*machine, record.case, record.backend, record.threads)
            if record.measured and not record.quick and key not in seen:
                fresh.append(record)
                seen.add(key)
        if fresh:
            parts += [f"### {session.title()}", table(fresh)]
    return "\n\n".join(parts) if parts else NO_RESULTS
