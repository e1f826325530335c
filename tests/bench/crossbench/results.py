"""What was measured, and what it is compared with."""

from dataclasses import dataclass, field
from statistics import median

GIB = 1 << 30
MEASURED = ("wire_bytes", "source_cpu_seconds", "destination_cpu_seconds", "storage_cpu_seconds", "other_cores",
            "peak_rss_bytes")


@dataclass
class Series:
    """One competitor's measurements in one row: a list per quantity, one value a repetition."""
    letter: str
    title: str
    values: dict = field(default_factory=dict)

    def add(self, **measured):
        for name, value in measured.items():
            self.values.setdefault(name, []).append(value)

    def median(self, name):
        return median(self.values[name]) if self.values.get(name) else None


@dataclass(frozen=True)
class Target:
    """A figure to reach: the text as it stands in the issue, what to take, and its bound."""
    text: str
    value: object  # a function of the Result
    at_most: float = None
    at_least: float = None

    def judge(self, result):
        value = self.value(result)
        if value is None:
            return None
        met = value <= self.at_most if self.at_most is not None else value >= self.at_least
        return {"target": self.text, "measured": value, "met": met}


@dataclass
class Result:
    """One row."""
    name: str
    title: str
    compared: str  # the quantity that ratios are about: "transfer_seconds" or "run_seconds"
    bytes: int     # that are to be copied: the changed ones
    series: dict = field(default_factory=dict)
    targets: tuple = ()
    notes: list = field(default_factory=list)
    figures: dict = field(default_factory=dict)  # what is no competitor's

    def add(self, letter, title, told, **more):
        """One run of one competitor, as `BenchSite.measured` tells it."""
        series = self.series.setdefault(letter, Series(letter, title))
        series.add(run_seconds=told["seconds"], **{name: told[name] for name in MEASURED}, **more)

    def ratio(self, letter, other, name=None):
        """The median of the repetitions' ratios: what both suffered from in one repetition cancels out."""
        name = name or self.compared
        mine, others = (self.series[each].values.get(name, []) if each in self.series else []
                        for each in (letter, other))
        ratios = [one / two for one, two in zip(mine, others) if two > 0]
        return median(ratios) if ratios else None

    def wire_ratio(self, letter):
        wire = self.series[letter].median("wire_bytes")
        return wire / self.bytes if self.bytes else None

    def per_gib(self, letter, name):
        value = self.series[letter].median(name)
        return value * GIB / self.bytes if self.bytes and value is not None else None

    def steps(self, letter):
        """[(median seconds, step)] of a competitor's runs, as far as they tell of them and agree in how many."""
        runs = self.series[letter].values.get("steps", []) if letter in self.series else []
        if not runs or len({len(run) for run in runs}) > 1:
            return []
        return [(median(run[index][0] for run in runs), runs[-1][index][1]) for index in range(len(runs[-1]))]

    def to_json(self):
        competitors = {}
        for letter, series in self.series.items():
            competitors[letter] = {
                "title": series.title, "values": series.values,
                "medians": {name: series.median(name) for name, values in series.values.items()
                            if values and isinstance(values[0], (int, float))},
                **{f"ratio_to_{other}": self.ratio(letter, other) for other in self.series if other != letter},
                "wire_per_byte": self.wire_ratio(letter),
                **{f"{end}_cpu_seconds_per_gib": self.per_gib(letter, f"{end}_cpu_seconds")
                   for end in ("source", "destination")}}
        return {"row": self.name, "title": self.title, "compared": self.compared, "bytes": self.bytes,
                "competitors": competitors, "targets": self.judged(), "figures": self.figures, "notes": self.notes}

    def judged(self):
        return [judged for target in self.targets if (judged := target.judge(self))]
