# shellcheck shell=bash
# The Python environment of the benchmark with peers, target/bench-venv. Sourced after packages.sh.

bench_requirements=scripts/requirements-bench.txt
bench_venv=${CARGO_TARGET_DIR:-$PWD/target}/bench-venv

# Installs what scripts/requirements-bench.txt names. A package that cannot be had is named and left out.
make_bench_venv() {
    local made_from=$bench_venv/requirements-bench.txt package
    if "$bench_venv/bin/python" -c '' 2>/dev/null; then
        cmp -s "$bench_requirements" "$made_from" && return
    else
        python3 -m venv --clear "$bench_venv"
    fi
    say "installing the packages of $bench_requirements into $bench_venv"
    if bench_pip --requirement "$bench_requirements"; then
        cp "$bench_requirements" "$made_from"
        return
    fi
    say "not all at once: one by one"
    grep '^[^#]' "$bench_requirements" | while read -r package; do
        bench_pip --constraint "$bench_requirements" "$package" </dev/null || say "left out: $package does not install" >&2
    done
    bench_python -c 'import h5py, matplotlib, numpy, scipy, threadpoolctl' || die "cannot do without these packages"
}

bench_pip() { "$bench_venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

bench_python() { PYTHONPATH=scripts "$bench_venv/bin/python" "$@"; }
