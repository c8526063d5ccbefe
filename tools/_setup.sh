# Sourced by the tools beside it: goes to the repository's root and makes the virtual environment .venv, unless that was done before.
# Needs nothing but bash and Python 3.11 with venv; installs nothing outside the repository, and needs no rights.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TORCH=2.13.0 # exactly: pip may take a newer one with gigabytes of CUDA libraries
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1
unset PYTHONPATH PYTHONHOME

say() { printf '==> %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 4
}

# The first Python that the pins of constraints.txt are for; EDGECNN_PYTHON names another.
find_python() {
    local name path found=""
    for name in ${EDGECNN_PYTHON:-python3.11 python3 python3.12 python3.13}; do
        while read -r path; do
            "$path" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue
            found=$path
            "$path" -c 'import ensurepip, venv' 2>/dev/null || continue
            echo "$path"
            return
        done < <(type -aP "$name")
    done
    [ -z "$found" ] || fail "$found has no venv module with pip; on Debian: apt install python3-venv"
    fail "no Python 3.11 was found on PATH (3.12 and 3.13 will do); on Debian: apt install python3 python3-venv, or name one in EDGECNN_PYTHON"
}

# install VENV WHAT...: pip, quiet unless it fails
install() {
    local venv=$1
    shift
    "$venv/bin/python" -m pip install -qq --no-compile -c constraints.txt "$@"
}

# A virtual environment that is moved, or whose Python went away, is made anew; one that is only out of date is brought up to date.
make_venv() {
    local venv=$1 python=$2
    local birth="$PWD/$venv of $("$python" -c 'import sys; print(sys.version.split()[0], sys.base_prefix)')"
    if [ "$(cat "$venv/.birth" 2>/dev/null)" = "$birth" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then return; fi
    say "making the virtual environment $venv with $("$python" --version) ($python)"
    "$python" -m venv --clear "$venv"
    echo "$birth" >"$venv/.birth"
}

# The hash of what decides what is installed.
wanted() { cat pyproject.toml constraints.txt tools/_setup.sh | sha256sum; }

# One set-up of this repository at a time, until file 9 is closed.
lock() {
    mkdir -p .cache
    exec 9>.cache/set-up.lock
    command -v flock >/dev/null || return 0
    flock -n 9 || { say "waiting for another set-up of this repository" && flock 9; }
}

set_up() {
    local python
    lock
    if [ "$(cat .venv/.installed 2>/dev/null)" = "$PWD $(wanted)" ] && .venv/bin/python -c '' 2>/dev/null; then
        say "set-up: .venv is up to date"
    else
        python=$(find_python)
        make_venv .venv "$python"
        rm -f .venv/.installed
        say "installing torch $TORCH (some 200 MB to fetch the first time, a few minutes)"
        install .venv "torch==$TORCH"
        say "installing edgecnn and its tools, at the versions in constraints.txt (a few minutes)"
        install .venv setuptools
        install .venv --no-build-isolation -e '.[dev]'
        echo "$PWD $(wanted)" >.venv/.installed
        say "set-up: done, in .venv"
    fi
    exec 9>&-
}

# What a device has: edgecnn without extras, not editable, in .venv-device. Its source is part of what decides whether it is up to date.
set_up_device() {
    local state source
    lock
    state="$PWD $(find edgecnn -name '*.py' -print0 | sort -z | xargs -0 cat pyproject.toml constraints.txt tools/_setup.sh | sha256sum)"
    if [ "$(cat .venv-device/.installed 2>/dev/null)" = "$state" ] && .venv-device/bin/python -c '' 2>/dev/null; then
        say "set-up: .venv-device is up to date"
    else
        make_venv .venv-device .venv/bin/python
        rm -f .venv-device/.installed
        say "pip install . (no extras: numpy, onnxruntime, pillow, click) into .venv-device"
        # from a copy: setuptools packs what it finds left over in build/
        source=$PWD/.cache/source
        rm -rf "$source"
        mkdir "$source"
        cp -r edgecnn pyproject.toml README.md LICENSE "$source"
        .venv/bin/python -m pip wheel -qq --no-deps --no-build-isolation --wheel-dir "$source/made" "$source"
        install .venv-device --force-reinstall --no-deps "$source"/made/*.whl
        install .venv-device "$source"/made/*.whl
        rm -rf "$source"
        echo "$state" >.venv-device/.installed
    fi
    exec 9>&-
}
