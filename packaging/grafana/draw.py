#!/usr/bin/env python3
"""Draws the board without Grafana: the panels of hither.json with the data of a Prometheus, as board.svg beside this file.

    python3 -m venv venv && venv/bin/pip install matplotlib
    venv/bin/python packaging/grafana/draw.py http://127.0.0.1:9090 [MINUTES] [ROWS]

Only what the board uses is drawn: the types of panels, units, stacks, legends. Run by hand when the board changes.
"""
import json, pathlib, sys, time, urllib.parse, urllib.request

import matplotlib
matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

HERE = pathlib.Path(__file__).parent
COLORS = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ca95e5"]
BACK, PANEL, TEXT, GRID = "#111217", "#181b1f", "#ccccdc", "#2c3036"
STEPS = 90


def scaled(value, unit):
    """A value as Grafana writes it."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "d":
        return f"{value:.3g} d"
    if unit == "s":
        for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return "0 s"
    end = {"reqps": "/s", "ops": "/s"}.get(unit, "")
    return (f"{value / 1000:.3g} k{end}" if abs(value) >= 10000 else f"{value:.3g}{end}").strip()


class Prometheus:
    def __init__(self, base, minutes):
        self.base, self.end = base, time.time()
        self.begin = self.end - minutes * 60
        self.step = max(1, (self.end - self.begin) / STEPS)

    def ask(self, expr):
        """The series of a query, each a legend's labels, times and values."""
        expr = expr.replace("$instance", ".+").replace("$__rate_interval", f"{max(30, int(4 * self.step))}s")
        query = urllib.parse.urlencode({"query": expr, "start": self.begin, "end": self.end, "step": self.step})
        with urllib.request.urlopen(f"{self.base}/api/v1/query_range?{query}") as answer:
            found = json.load(answer)["data"]["result"]
        number = lambda text: float("nan") if text in ("NaN", "+Inf", "-Inf") else float(text)
        return [(one["metric"], [float(at) - self.begin for at, _ in one["values"]], [number(v) for _, v in one["values"]]) for one in found]


def legend(form, labels):
    for name, value in labels.items():
        form = form.replace("{{" + name + "}}", value)
    return form


def series_of(panel, prometheus):
    found = []
    for target in panel["targets"]:
        found += [(legend(target["legendFormat"], labels), times, values) for labels, times, values in prometheus.ask(target["expr"])]
    return found


def ages(axes, width):
    """Labels the times of an axis by their age."""
    minutes = max(1, round(width / 60 / 5))
    ticks = [width - 60 * minutes * n for n in range(int(width / 60 / minutes) + 1)]
    axes.set_xlim(0, width)
    axes.set_xticks(ticks, [f"-{minutes * n} min" if n else "now" for n in range(len(ticks))])


def lines(axes, panel, found, unit, width):
    for at, (name, times, values) in enumerate(found):
        color = COLORS[at % len(COLORS)]
        if panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal":
            continue
        axes.plot(times, values, color=color, linewidth=1.1, label=name)
    if not axes.lines and found:
        # Stacked: all series at the times of the longest one.
        times = max((times for _, times, _ in found), key=len)
        rows = [[dict(zip(own, values)).get(at, 0.0) for at in times] for _, own, values in found]
        rows = [[0.0 if value != value else value for value in row] for row in rows]
        axes.stackplot(times, rows, labels=[name for name, _, _ in found], colors=COLORS * 4, alpha=0.75)
    ages(axes, width)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scaled(value, unit)))
    axes.grid(color=GRID, linewidth=0.5)
    axes.tick_params(colors=TEXT, labelsize=6, length=0)
    if 0 < len(found) <= 10:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncol=min(4, len(found)), fontsize=6, frameon=False,
                    labelcolor=TEXT, handlelength=1, columnspacing=1)


def draw(axes, panel, prometheus):
    unit, found = panel["fieldConfig"]["defaults"]["unit"], series_of(panel, prometheus)
    axes.set_facecolor(PANEL)
    [spine.set_color(GRID) for spine in axes.spines.values()]
    axes.set_title(panel["title"], color=TEXT, fontsize=7.5, loc="left", pad=4)
    if not found:
        axes.text(0.5, 0.5, "no data", color=TEXT, ha="center", va="center", transform=axes.transAxes, fontsize=7)
        axes.set_xticks([]), axes.set_yticks([])
    elif panel["type"] == "stat":
        value = found[0][2][-1]
        words = {name: one["text"] for one in panel["fieldConfig"]["defaults"].get("mappings", []) for name, one in one["options"].items()}
        axes.text(0.5, 0.45, words.get(f"{value:g}", scaled(value, unit)), color=COLORS[0], ha="center", va="center", transform=axes.transAxes, fontsize=14)
        axes.set_xticks([]), axes.set_yticks([])
    elif panel["type"] == "bargauge":
        axes.barh([name for name, _, _ in found], [values[-1] for _, _, values in found], color=COLORS[0], height=0.4)
        axes.tick_params(colors=TEXT, labelsize=6, length=0)
    elif panel["type"] == "state-timeline":
        for row, (name, times, values) in enumerate(reversed(found)):
            begin = 0
            for at in range(1, len(times) + 1):
                if at == len(times) or values[at] != values[begin]:
                    length = times[at - 1] - times[begin] + prometheus.step
                    axes.barh(row, length, left=times[begin], color=COLORS[0] if values[begin] else COLORS[4], height=0.7, linewidth=0)
                    begin = at
        axes.set_yticks(range(len(found)), [name for name, _, _ in reversed(found)])
        ages(axes, prometheus.end - prometheus.begin)
        axes.tick_params(colors=TEXT, labelsize=6, length=0)
    else:
        lines(axes, panel, found, unit, prometheus.end - prometheus.begin)


def main(base, minutes="15", rows="99"):
    board = json.loads((HERE / "hither.json").read_text())
    panels = [panel for panel in board["panels"] if panel["gridPos"]["y"] < int(rows)]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    prometheus = Prometheus(base, float(minutes))
    plt.rcParams["svg.fonttype"] = "none"
    plt.rcParams["svg.hashsalt"] = "hither"
    plt.rcParams["font.family"] = "sans-serif"
    figure = plt.figure(figsize=(12, height * 0.36), facecolor=BACK)
    for panel in panels:
        place = panel["gridPos"]
        left, top = place["x"] / 24, 1 - place["y"] / height
        if panel["type"] == "row":
            figure.text(left + 0.01, top - 0.7 / height, panel["title"], color=TEXT, fontsize=9, weight="bold", va="center")
            continue
        label = 0.9 if panel["type"] == "state-timeline" else 0.45
        margin = 0.1 if panel["type"] == "stat" else label
        bottom = {"stat": 0.25, "timeseries": 1.6}.get(panel["type"], 0.8)
        if panel["type"] == "state-timeline":
            margin = 1.6
        axes = figure.add_axes([left + (margin + 0.35) / 24, top - (place["h"] - bottom) / height,
                                (place["w"] - margin - 0.6) / 24, (place["h"] - bottom - 0.95) / height])
        draw(axes, panel, prometheus)
    figure.savefig(HERE / "board.svg", facecolor=BACK, metadata={"Date": None})


main(*sys.argv[1:])
