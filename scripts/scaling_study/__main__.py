"""Tables and plots of a scaling study: the program behind scripts/scaling."""

import argparse
import math
import signal
import sys
from pathlib import Path

from scaling_study import plot, record, roofline, series, table
from scaling_study.failure import Failure


def positive(text):
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def bandwidth(text):
    return text if text == "measure" else positive(text)


def parse_arguments(argv):
    parser = argparse.ArgumentParser(prog="scaling", description=__doc__)
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument("--bandwidth", type=bandwidth, metavar="GB/s")
    parser.add_argument("--peak", type=positive, metavar="G/s")
    parser.add_argument("--stop", type=positive, default=0.5, metavar="EFFICIENCY")
    options = parser.parse_args(argv)
    if options.stop > 1:
        parser.error(f"--stop is {options.stop}: an efficiency is at most 1")
    if (options.bandwidth or options.peak) and not options.plots:
        parser.error("--bandwidth and --peak are for the roofline plot: add --plots FOLDER")
    if options.peak and not options.bandwidth:
        parser.error("--peak needs --bandwidth: a roofline is made of both")
    return options


def name_left_out(points, all_series):
    """Says on stderr which runs are in no table."""
    used = {(point.problem, point.layout) for one in all_series for point in one.points}
    for point in points:
        if (point.problem, point.layout) not in used:
            what = f"{table.work(point.problem)}, {table.output(point.problem)}"
            print(f"scaling: in no series, since nothing compares with it: {what}: {point.runs[0].path}", file=sys.stderr)


def study(options):
    points = series.points_of(record.read_runs(options.folders))
    all_series = series.strong_series(points) + series.weak_series(points)
    if not all_series:
        where = ", ".join(options.folders)
        raise Failure(f"{where}: no problem was run on different numbers of cores: add records of more ranks or threads")
    name_left_out(points, all_series)
    lines = [table.text(all_series, options.stop)]
    drawn = roofline.points_to_draw(points)
    if options.bandwidth == "measure" and drawn:
        cores = math.ceil(drawn[0].layout.cores_per_node)
        options.bandwidth = round(roofline.measure_bandwidth(cores) / 1e9, 1)
        lines.append(f"Memory bandwidth, measured on {table.counted(cores, 'core')}: {options.bandwidth} GB/s")
    if options.plots:
        written = plot.write_all(drawn, all_series, options)
        lines.append("Plots: " + ", ".join(f"{path}" for path in written))
    # last, and with the usual end of a program whose reader is gone: `| head` gets its plots, and no traceback
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    print(*lines, sep="\n\n")


def main(argv):
    options = parse_arguments(argv)
    try:
        study(options)
    except (Failure, OSError) as failure:  # OSError: plots that cannot be written
        raise SystemExit(f"scaling: {failure}") from failure


if __name__ == "__main__":
    main(sys.argv[1:])
