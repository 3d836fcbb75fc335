"""Draws a record: one panel for each work, one bar for each program. The program behind scripts/plot-peers.

usage: python -m bench.plot [RECORD.csv [FOLDER]]     writes FOLDER/peers.svg and .png [default: docs/img]
"""

import itertools
import sys
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench import record, table

OURS, FASTEST, OTHERS = "#0b6e99", "#6b7680", "#b9c1c7"
WIDTH, BAR_HEIGHT, MARGIN = 11, 0.25, 1.4  # inches
TITLE_X = -0.33  # of the width of the axes: above the names of the programs
SPARE_BARS = 3  # of height in each panel, for its title and axis
STYLE = {
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": 14,
    "svg.hashsalt": "pairdist",
}
HEADINGS = {"compute": "", "file": ", HDF5 to HDF5", "neighbors": ", nearest 16, HDF5 to HDF5"}


def bars_of(programs):
    """(program, rates in G/s) of the faster variant of pairdist and of each peer, fastest first."""
    names = [name for name in ("pairdist", *table.PEERS) if name in programs]
    rates = {name: [row["pair_features_per_s"] / 1e9 for row in table.best(programs[name])] for name in names}
    return sorted(rates.items(), key=lambda bar: table.median(bar[1]), reverse=True)


def ratio_text(programs):
    reference = table.fastest_peer(programs)
    return f"   {table.speed_up(table.best(programs['pairdist']), reference):.1f} ×" if reference else ""


def draw_panel(axes, work, programs):
    group, metric, size, dtype = work.split()
    axes.set_title(f"{metric}, {size.replace('x', ' × ')} {dtype}{HEADINGS[group]}", x=TITLE_X)
    bars = bars_of(programs)
    reference = table.fastest_peer(programs)
    colours = {"pairdist": OURS, reference and reference[0]["program"]: FASTEST}
    for position, (name, rates) in enumerate(bars):
        middle = table.median(rates)
        whisker = [[middle - min(rates)], [max(rates) - middle]]
        axes.barh(position, middle, 0.74, color=colours.get(name, OTHERS), xerr=whisker, ecolor="#222222", capsize=3)
        ours = name == "pairdist"
        text = table.three_digits(middle) + (ratio_text(programs) if ours else "")
        style = {"weight": "bold", "color": OURS} if ours else {}
        label = axes.annotate(text, (max(rates), position), (7, 0), textcoords="offset points", va="center", **style)
        label.set_in_layout(False)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    # room for the text behind the longest bar
    axes.set_xlim(0, 1.5 * max(max(rates) for _, rates in bars))


def columns_of(tree):
    """The works of each metric, one metric in each column."""
    columns = {}
    for work, programs in table.without_one_input(tree).items():
        columns.setdefault(work.split()[1], []).append((work, programs))
    return list(columns.values())


def heights_of(columns):
    """For each row of panels the bars of its fullest one, so that all bars are about equally thick."""
    bars = ([len(bars_of(programs)) for _, programs in works] for works in columns)
    return [SPARE_BARS + max(row) for row in itertools.zip_longest(*bars, fillvalue=0)]


def draw(path):
    rows = record.read(path)
    columns = columns_of(table.by_variant(rows))
    heights = heights_of(columns)
    figure = Figure(figsize=(WIDTH, BAR_HEIGHT * sum(heights) + MARGIN), layout="constrained")
    grid = figure.subplots(len(heights), len(columns), height_ratios=heights, squeeze=False)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.06)
    for column, works in enumerate(columns):
        for axes, (work, programs) in zip(grid[:, column], works, strict=False):
            draw_panel(axes, work, programs)
        for axes in grid[len(works) :, column]:
            axes.set_axis_off()
        grid[len(works) - 1, column].set_xlabel("G pair-features/s  (n² d / time / 10⁹)")
    figure.suptitle("Distances of n × d samples: pairdist and its peers", size=18, weight="bold")
    figure.supxlabel(caption(rows, record.comments(path)), size=11, color="#444444")
    return figure


def caption(rows, about):
    repeats = 1 + max(row["repeat"] for row in rows)
    run = f"{about['machine'].partition(';')[0]}; {about['date'][:10]}, commit {about['commit']}"
    return f"medians of {repeats} runs, whiskers: slowest and fastest; ×: pairdist over the fastest peer\n{run}"


def main(path=None, folder="docs/img"):
    path, folder = path or record.newest(), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with rc_context(STYLE):
        figure = draw(path)
        figure.savefig(folder / "peers.svg", metadata={"Date": None})
        figure.savefig(folder / "peers.png", dpi=110)
    print(table.text(record.read(path)), "", f"{folder}/peers.svg and .png, from {path}", sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
