"""Results as text."""

from .results import GIB

COLUMNS = ("", "transfer s", "run s", "of (b)", "of (c)", "of (a)", "wire MiB", "wire/data", "cpu src", "cpu dst",
           "src/GiB", "dst/GiB", "cpu OSDs", "others")


def _number(value, places=2):
    return "-" if value is None else f"{value:.{places}f}"


def _row(result, letter):
    series = result.series[letter]
    title = f"({letter}) {series.title}" if letter in "abc" else series.title
    wire = series.median("wire_bytes")
    return (title, _number(series.median("transfer_seconds")), _number(series.median("run_seconds")),
            *(_number(result.ratio(letter, other)) if other != letter else "1" for other in "bca"),
            _number(None if wire is None else wire / (1 << 20), 1), _number(result.wire_ratio(letter)),
            _number(series.median("source_cpu_seconds")), _number(series.median("destination_cpu_seconds")),
            _number(result.per_gib(letter, "source_cpu_seconds")),
            _number(result.per_gib(letter, "destination_cpu_seconds")), _number(series.median("storage_cpu_seconds")),
            _number(series.median("other_cores"), 1))


def _shortened(step, width=100):
    return step if len(step) <= width else step[:width - 3] + "..."


def render(result):
    """One row of the benchmark: a table of its competitors, and its targets."""
    repeats = max((len(next(iter(series.values.values()), [])) for series in result.series.values()), default=0)
    lines = [f"== {result.name}: {result.title}",
             f"   medians of {repeats}; ratios compare the {result.compared.replace('_seconds', '')} time"
             + (f"; {result.bytes / GIB:.3f} GiB to copy" if result.bytes else "")]
    if result.series:
        rows = [COLUMNS] + [_row(result, letter) for letter in sorted(result.series)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        lines += ["   " + "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                                    for column, (cell, width) in enumerate(zip(row, widths))) for row in rows]
    lines += [f"   {seconds:8.2f} s  {_shortened(step)}" for letter in "xf"
              for seconds, step in result.steps(letter)]
    lines += [f"   target: {judged['target']}: {judged['measured']:.3g} {'met' if judged['met'] else 'MISSED'}"
              for judged in result.judged()]
    lines += [f"   {note}" for note in result.notes]
    return "\n".join(lines) + "\n"
