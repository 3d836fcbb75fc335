# shellcheck shell=bash
# Python environments from requirements files. Sourced after packages.sh.

# make_venv FOLDER REQUIREMENTS: makes the environment FOLDER, and makes it anew when the file changed.
make_venv() {
    local venv=$1 requirements=$2
    local made_from=$venv/${requirements##*/}
    if cmp -s "$requirements" "$made_from" && "$venv/bin/python" -c ''; then
        return
    fi
    say "installing the packages of $requirements into $venv" >&2
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements"
    cp "$requirements" "$made_from"
}
