"""What a record says: the tables of medians and ratios, as Markdown."""

from statistics import median

from bench.peers import PEERS
from bench.works import COMPUTE_ALONE, NEIGHBORS, ONE_INPUT, ONE_INPUT_GOAL, WORKS, WRITE_ALONE, WRITE_BOUND_GOAL

# group: heading, what a cell shows of the rows of a variant
GROUPS = {
    "compute": ("Two inputs, no output: G pair-features/s", lambda rows: three_digits(median_rate(rows) / 1e9)),
    "file": ("From HDF5 to HDF5, one input: s", lambda rows: f"{median_s(rows):.2f}"),
    "neighbors": (f"The {NEIGHBORS} nearest of every sample, from HDF5 to HDF5: s", lambda rows: f"{median_s(rows):.2f}"),
}


def three_digits(value):
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def median_rate(rows):
    return median(row["pair_features_per_s"] for row in rows)


def median_s(rows):
    return median(row["seconds"] for row in rows)


def by_variant(rows):
    """work: program: variant: its rows in the order of repeats."""
    tree = {}
    for row in rows:
        tree.setdefault(row["work"], {}).setdefault(row["program"], {}).setdefault(row["variant"], []).append(row)
    return tree


def best(variants):
    """The rows of the variant with the shortest median."""
    return min(variants.values(), key=median_s)


def fastest_peer(programs):
    """The rows of the fastest peer, None where none was measured."""
    measured = [best(variants) for program, variants in programs.items() if program in PEERS]
    return min(measured, key=median_s, default=None)


def speed_up(rows, reference):
    """Median of the ratios of neighbours in time: a slow spell of the machine meets both."""
    other = {row["repeat"]: row["seconds"] for row in reference}
    return median(other[row["repeat"]] / row["seconds"] for row in rows if row["repeat"] in other)


def markdown(header, lines):
    widths = [max(len(cell) for cell in column) for column in zip(header, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    rows = (zip(cells, widths, strict=True) for cells in (header, rule, *lines))
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in row) + " |" for row in rows)


def without_one_input(tree):
    return {work: programs for work, programs in tree.items() if not work.endswith(ONE_INPUT)}


def peers_table(group, tree, goals):
    """The faster variant of each program, and pairdist against the fastest peer."""
    heading, cell = GROUPS[group]
    works = {work: programs for work, programs in without_one_input(tree).items() if work.startswith(group)}
    columns = [program for program in ("pairdist", *PEERS) if any(program in programs for programs in works.values())]
    lines = []
    for work, programs in works.items():
        cells = [cell(best(programs[program])) if program in programs else "" for program in columns]
        reference = fastest_peer(programs)
        ratio = [reference[0]["program"], f"{speed_up(best(programs['pairdist']), reference):.2f}"] if reference else ["", ""]
        lines.append([work.removeprefix(group + " "), *cells, *ratio, goals.get(work, "")])
    return lines and f"{heading}\n\n" + markdown(["work", *columns, "fastest peer", "pairdist / fastest", "goal"], lines)


def layouts_table(tree):
    """Each layout of pairdist against the fastest peer, and with one input against two."""
    lines = []
    for work, programs in without_one_input(tree).items():
        reference = fastest_peer(programs)
        for layout, rows in programs["pairdist"].items():
            one_input = tree[work + ONE_INPUT]["pairdist"][layout] if work + ONE_INPUT in tree else []
            ratios = [f"{speed_up(*pair):.2f}" if all(pair) else "" for pair in ((rows, reference), (one_input, rows))]
            lines.append([work, layout, three_digits(median_rate(rows) / 1e9), *ratios, f"{ONE_INPUT_GOAL}" if one_input else ""])
    header = ["work", "pairdist as", "G pair-features/s", "/ fastest peer", "one input / two inputs", "goal"]
    return "pairdist in each layout, and its pair rate with one input against that with two\n\n" + markdown(header, lines)


def bound_table(tree):
    """Wall time against computing alone plus writing alone."""
    lines = []
    for work, programs in tree.items():
        for layout in programs.get(WRITE_ALONE, {}):
            total, compute, write = (median_s(programs[program][layout]) for program in ("pairdist", COMPUTE_ALONE, WRITE_ALONE))
            lines.append([work, layout, *(f"{value:.2f}" for value in (total, compute, write, total / (compute + write))), f"<= {WRITE_BOUND_GOAL}"])
    header = ["work", "pairdist as", "wall time, s", "compute alone, s", "raw pwrite alone, s", "wall / (compute + pwrite)", "goal"]
    return lines and "pairdist against what bounds it\n\n" + markdown(header, lines)


def text(rows):
    tree = by_variant(rows)
    goals = {work.name: f"{work.goal}" for work in WORKS}
    tables = [*(peers_table(group, tree, goals) for group in GROUPS), layouts_table(tree), bound_table(tree)]
    return "\n\n".join(table for table in tables if table)
