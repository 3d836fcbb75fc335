"""Draws a study: speed-up and efficiency, phases, and the roofline, as SVG and PNG."""

import itertools
import math
import sys
from pathlib import Path
from statistics import median

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from scaling_study import roofline, table
from scaling_study.record import PHASES

WIDTH = 11  # inches
WITHOUT_OUTPUT, WITH_OUTPUT, IDEAL = "#0b6e99", "#c8641b", "#6b7680"
MARKERS = "osD^vP"
LINES = "-", "--", "-.", ":"
PHASE_COLOURS = dict(zip(PHASES, ("#7a5195", "#e2a72e", "#0b6e99", "#c8641b", "#5d9c59", "#b9c1c7"), strict=True))
LINEAR_UP_TO = 8  # times the cores of the baseline; more is drawn in powers of two
BESIDE = 7  # points (1/72 inch) between the series, so that their error bars do not hide each other
STYLE = {
    "font.size": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 14,
    "lines.linewidth": 2,
    "lines.markersize": 8,
    "legend.frameon": False,
    "svg.hashsalt": "pairdist",
}


def write_all(roofline_points, all_series, options):
    """The paths of what was drawn."""
    options.plots.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figures = {
            "strong": speed_up_figure("Strong scaling", [one for one in all_series if not one.is_weak], options.stop),
            "weak": speed_up_figure("Weak scaling", [one for one in all_series if one.is_weak], options.stop),
            "phases": phases_figure(all_series),
            "roofline": roofline_figure(roofline_points, options),
        }
        about = caption(options.folders)
        return [path for name, figure in figures.items() if figure for path in write(figure, options.plots / f"scaling-{name}", about)]


def write(figure, stem, about):
    figure.supxlabel(about, size=11, color="#444444")
    paths = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    figure.savefig(paths[0], metadata={"Date": None})
    figure.savefig(paths[1], dpi=110)
    return paths


def caption(folders):
    """What the folders say of themselves."""
    texts = [path.read_text().strip() for folder in folders if (path := Path(folder) / "about.txt").is_file()]
    return "\n".join(dict.fromkeys(texts))


def not_drawn(name, why):
    print(f"scaling: no plot of {name}: {why}", file=sys.stderr)


# Speed-up and efficiency


def speed_up_figure(name, all_series, stop):
    if not all_series:
        return not_drawn(name, "no records for it")
    rows = [list(group) for _, group in itertools.groupby(all_series, key=lambda one: panel_title(one))]
    figure = Figure(figsize=(WIDTH, 4.3 * len(rows) + 1.6), layout="constrained")
    figure.suptitle(name, size=18, weight="bold")
    for part, row in zip(figure.subfigures(len(rows), squeeze=False)[:, 0], rows, strict=True):
        draw_row(part, row, stop)
    return figure


def panel_title(series):
    return table.work(series.baseline.problem, series.is_weak)


def draw_row(figure, row, stop):
    """Series of the same work, with and without output."""
    speed_up, efficiency = figure.subplots(1, 2)
    figure.suptitle(panel_title(row[0]), size=13)
    unit = unit_of_x(row)
    positions = sorted({x_of(unit, point.layout) for one in row for point in one.points})
    ideal = [x / x_of(unit, row[0].baseline.layout) for x in positions]
    speed_up.plot(positions, ideal, color=IDEAL, linestyle=":", label="ideal", zorder=1)
    lines = [(one, key, points) for one in row for key, points in lines_of(one).items()]
    keys = list(dict.fromkeys(key for _, key, _ in lines))
    for place, (one, key, points) in enumerate(lines):
        style = line_style(one, keys.index(key), label_of(one, key, keys))
        beside = BESIDE * (place - (len(lines) - 1) / 2)
        is_branch = key != next(iter(lines_of(one)))
        # not beside each other, where a line to the left would seem to be above the ideal one
        draw_line(speed_up, unit, 0, one, points, one.more_cores, is_branch, style)
        draw_line(efficiency, unit, beside, one, points, lambda _: 1, is_branch, style)
    efficiency.axhline(1, color=IDEAL, linestyle=":", zorder=1)
    efficiency.axhline(stop, color="#aa2222", linewidth=1, label=f"efficiency {stop:g}: stop below", zorder=1)
    scale_axes(speed_up, positions, ideal)
    scale_axes(efficiency, positions, None)
    for axes, label in ((speed_up, "speed-up (×)"), (efficiency, "efficiency (ideal: 1)")):
        axes.set_xlabel(unit)
        axes.set_ylabel(label)
    handles, labels = speed_up.get_legend_handles_labels()
    handles.append(efficiency.lines[-1])
    labels.append(handles[-1].get_label())
    legend = f"medians; bars: slowest and fastest run; baseline: {table.layout_text(row[0].baseline.layout)}"
    figure.legend(handles, labels, loc="outside lower center", ncols=2, title=legend, title_fontsize=12, fontsize=13)


def unit_of_x(row):
    """Nodes where all have the same cores, else cores."""
    layouts = {point.layout for one in row for point in one.points}
    whole_nodes = len({layout.cores / layout.nodes for layout in layouts}) == 1
    return "nodes" if whole_nodes else "cores (ranks × threads)"


def x_of(unit, layout):
    return layout.nodes if unit == "nodes" else layout.cores


def lines_of(series):
    """Points to be joined: the same threads, and ranks per node where there are several nodes; each line begins at the baseline."""
    one_node = len({point.layout.nodes for point in series.points}) == 1
    lines = {}
    for point in series.points:
        layout = point.layout
        key = (layout.threads,) if one_node else (layout.threads, layout.ranks / layout.nodes)
        lines.setdefault(key, []).append(point)
    return {key: points if points[0] is series.baseline else [series.baseline, *points] for key, points in lines.items()}


def label_of(series, key, keys):
    text = table.output(series.baseline.problem)
    if len(keys) > 1:
        text += f", {table.counted(key[0], 'thread')} per rank" + "".join(f", {table.counted(ranks, 'rank')} per node" for ranks in key[1:])
    return text


def line_style(series, place, label):
    colour = WITH_OUTPUT if series.baseline.problem.output else WITHOUT_OUTPUT
    return {"color": colour, "marker": MARKERS[place % len(MARKERS)], "linestyle": LINES[place % len(LINES)], "label": label}


def draw_line(axes, unit, beside, series, points, times, is_branch, style):
    """Medians, with bars to the slowest and the fastest run. `beside`: how far right of its place, in points. `times`: what the
    efficiency is multiplied with."""
    x = [x_of(unit, point.layout) for point in points]
    middle = [series.efficiency(point) * times(point) for point in points]
    slowest = [series.efficiency_at(point, max(point.walls_s)) * times(point) for point in points]
    fastest = [series.efficiency_at(point, min(point.walls_s)) * times(point) for point in points]
    below = [at - low for at, low in zip(middle, slowest, strict=True)]
    above = [high - at for at, high in zip(middle, fastest, strict=True)]
    if is_branch:
        below[0] = above[0] = 0  # the bar of the baseline is drawn once
    for part in axes.errorbar(x, middle, yerr=[below, above], capsize=4, **style).get_children():
        part.set_transform(axes.transData + ScaledTranslation(beside / 72, 0, axes.figure.dpi_scale_trans))


def scale_axes(axes, positions, ideal):
    """Linear for few cores, else in powers of two."""
    if positions[-1] / positions[0] > LINEAR_UP_TO:
        axes.set_xscale("log", base=2)
        if ideal:
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.08)
    axes.xaxis.set_major_locator(FixedLocator(positions))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    if not ideal:
        axes.set_ylim(0, max(1.1, axes.get_ylim()[1]))
    elif axes.get_yscale() == "linear":
        axes.set_ylim(0, 1.05 * max(ideal[-1], axes.get_ylim()[1]))


# Phases


def phases_figure(all_series):
    heights = [0.36 * len(one.points) + 1.3 for one in all_series]
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.9), layout="constrained")
    figure.suptitle("Where the time goes", size=18, weight="bold")
    part = figure.subfigures()  # its legend is then above the caption
    panels = part.subplots(len(all_series), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, one in zip(panels, all_series, strict=True):
        draw_phases(axes, one)
    part.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(PHASES),
        title="the run with the median wall time; means over its ranks",
        title_fontsize=12,
        fontsize=13,
    )
    return figure


def draw_phases(axes, series):
    kind = "Weak" if series.is_weak else "Strong"
    problem = series.baseline.problem
    size = "" if series.is_weak else f"n = {problem.n}, "
    what = f"{problem.metric} ({problem.kernel}), {problem.dtype}, {size}{table.counted(problem.d, 'feature')}"
    axes.set_title(f"{kind}, {table.output(problem)}: {what}", size=12)
    starts = [0.0] * len(series.points)
    for name in PHASES:
        seconds = [point.middle.phases_s[name] for point in series.points]
        axes.barh(range(len(seconds)), seconds, 0.7, left=starts, color=PHASE_COLOURS[name], label=name)
        starts = [start + more for start, more in zip(starts, seconds, strict=True)]
    axes.set_yticks(range(len(starts)), [bar_text(series, point) for point in series.points])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(starts) - 0.4, -0.6)
    axes.set_xlim(0, 1.05 * max(starts))  # a bar that ends at the frame would look cut off
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("time (s)")


def bar_text(series, point):
    size = f"n = {point.problem.n}: " if len({other.problem.n for other in series.points}) > 1 else ""
    nodes = f"{table.counted(point.layout.nodes, 'node')}, " if len({other.layout.nodes for other in series.points}) > 1 else ""
    return size + nodes + table.ranks_text(point.layout)


# Roofline


def roofline_figure(drawn, options):
    if not drawn:
        return not_drawn("the roofline", "it needs runs without output; others also compute while they write")
    if not options.bandwidth:
        return not_drawn("the roofline", "add --bandwidth GB/s, or --bandwidth measure on the machine of the records")
    if not options.peak:
        print("scaling: the roofline has no limit of the kernel: add --peak G/s; docs/SCALING.md tells how to measure it", file=sys.stderr)
    figure = Figure(figsize=(WIDTH, 6.5 + 0.3 * len(drawn)), layout="constrained")
    part = figure.subfigures()  # its legend is then above the caption
    axes = part.subplots()
    draw_roof(axes, [roofline.intensity(point) for point in drawn], options)
    for place, point in enumerate(drawn):
        draw_kernel(axes, place, point)
    axes.set(xscale="log", yscale="log")
    low, high = axes.get_ylim()
    axes.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.grid(True, which="major", color="#dddddd")
    axes.set_xlabel("arithmetic intensity of a tile (pair-features per byte)")
    axes.set_ylabel("rate of a node (G pair-features/s)")
    axes.set_title(f"Roofline of {table.counted(drawn[0].layout.cores_per_node, 'core')} of a node")
    legend = "medians; bars: slowest and fastest run"
    part.legend(loc="outside lower center", title=legend, title_fontsize=12, fontsize=12)
    return figure


def draw_roof(axes, intensities, options):
    """Memory bandwidth × intensity, under the peak of the kernel where that is known."""
    x = [min(intensities) / 20, max(intensities) * 4]
    if options.peak:
        x.insert(1, min(max(options.peak / options.bandwidth, x[0]), x[1]))
    roof = [min(options.bandwidth * at, options.peak or float("inf")) for at in x]
    kernel = f", and kernel, {options.peak:g} G pair-features/s" if options.peak else "; that of the kernel is not known (--peak)"
    axes.plot(x, roof, color="#222222", label=f"limit: memory, {options.bandwidth:g} GB/s{kernel}")


def draw_kernel(axes, place, point):
    rates = sorted(rate / 1e9 for rate in roofline.kernel_rates(point))
    middle = median(rates)
    problem = point.problem
    what = f"{problem.metric} ({problem.kernel}), {problem.dtype}, {problem.n} × {problem.m}, {table.counted(problem.d, 'feature')}"
    label = f"{what}; {table.ranks_text(point.layout)}"
    bar = [[middle - rates[0]], [rates[-1] - middle]]
    # hollow: equal points show through each other
    style = {"fmt": MARKERS[place % len(MARKERS)], "fillstyle": "none", "markeredgewidth": 2, "color": f"C{place % 10}"}
    axes.errorbar(roofline.intensity(point), middle, yerr=bar, label=label, zorder=3, **style)
