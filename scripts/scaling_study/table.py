"""The tables of a study, as Markdown."""

from scaling_study.record import PHASES

LAYOUT = "nodes", "ranks", "threads"
GIGA, MEGA = 1e9, 1e6


def title(series):
    """Strong or weak, and what is computed."""
    smallest = series.baseline.problem
    kind = "Weak" if series.is_weak else "Strong"
    return f"{kind} scaling, {work(smallest, series.is_weak)}, {output(smallest)}"


def work(problem, weak=False):
    inputs = "one input" if problem.symmetric else "two inputs"
    sizes = f"from {problem.n} × {problem.m}" if weak else f"{problem.n} × {problem.m}"
    return f"{problem.metric} ({problem.kernel}), {problem.dtype}, {sizes} distances of {counted(problem.d, 'feature')}, {inputs}"


def output(problem):
    return "with output" if problem.output else "without output"


def digits(value):
    """Three significant digits."""
    return "0" if value == 0 else f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def markdown(header, lines):
    widths = [max(len(cell) for cell in column) for column in zip(header, *lines, strict=True)]
    rule = ["-" * (width - 1) + ":" for width in widths]
    rows = (zip(cells, widths, strict=True) for cells in (header, rule, *lines))
    return "\n".join("| " + " | ".join(cell.rjust(width) for cell, width in row) + " |" for row in rows)


def first_cells(series, point):
    return ([f"{point.problem.n}"] if series.is_weak else []) + [f"{number}" for number in point.layout]


def first_header(series):
    return (["n"] if series.is_weak else []) + list(LAYOUT)


def house_table(series):
    """Nodes, wall time, speed-up, efficiency."""
    lines = [
        [
            *first_cells(series, point),
            digits(point.wall_s),
            f"{digits(min(point.walls_s))} to {digits(max(point.walls_s))}",
            f"{len(point.runs)}",
            f"{series.speed_up(point):.2f}",
            f"{series.efficiency(point):.2f}",
        ]
        for point in series.points
    ]
    return markdown([*first_header(series), "wall, s", "of all runs, s", "runs", "speed-up", "efficiency"], lines)


def phase_table(series):
    """Where the time of the median run went, and what it moved."""
    runs = [(point, point.middle) for point in series.points]
    lines = [
        [
            *first_cells(series, point),
            *(digits(seconds) for seconds in run.phases_s.values()),
            f"{run.imbalance:.2f}",
            *(digits(count / MEGA) for count in (run.bytes_exchanged, run.bytes_read, run.bytes_written)),
            digits(run.rate / GIGA),
        ]
        for point, run in runs
    ]
    header = [*(f"{name}, s" for name in PHASES), "compute, max / mean", "exchanged, MB", "read, MB", "written, MB", "G pair-features/s"]
    return markdown([*first_header(series), *header], lines)


def counted(count, noun):
    return f"{count:g} {noun}" + ("" if count == 1 else "s")


def ranks_text(layout):
    return f"{counted(layout.ranks, 'rank')} × {counted(layout.threads, 'thread')}"


def layout_text(layout):
    return f"{counted(layout.nodes, 'node')}, {ranks_text(layout)}"


def reach(series, stop):
    """Up to where the efficiency is worth the nodes."""
    good = [point for point in series.points if series.efficiency(point) >= stop]
    largest = max(good, key=lambda point: (point.layout.cores, series.efficiency(point)))
    return f"The largest layout with an efficiency of at least {stop:.0%}: {layout_text(largest.layout)}."


def text(all_series, stop):
    parts = (f"### {title(series)}\n\n{house_table(series)}\n\n{reach(series, stop)}\n\n{phase_table(series)}" for series in all_series)
    return "\n\n".join(parts)
