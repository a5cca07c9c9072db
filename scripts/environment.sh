# Makes the Python environment of this checkout, once. Sourced by scripts/xget and scripts/test.
#
#     ROOT=...checkout...; . "$ROOT/scripts/environment.sh"; environment RUNTIME      (or: RUNTIME TESTS)
#
# The arguments are names of lists in setup.py. Afterwards $PYTHON is an interpreter that has those packages. What is
# done when nothing is to do costs no process: a made environment holds, per list, a copy of the setup.py that it was
# made from, and that copy is compared by the shell.
#
#     .venv/made-for-RUNTIME   copy of setup.py; written last, so it is there only when all before it worked
#     .venv/unfinished         stands while packages go in; found by a later run, the environment is made from nothing
#     .venv/lock               held by the run that makes it; others wait and then find it made

VENV=$ROOT/.venv
PYTHON=$VENV/bin/python

refuse() {
    echo "xget: $*" >&2
    exit 1
}

environment() {
    made_for "$@" || make_environment "$@"
}

made_for() {
    local list
    [ -x "$PYTHON" ] || return 1 # also when the interpreter behind the link went away
    for list; do
        { [ -r "$VENV/made-for-$list" ] && [ "$(<"$VENV/made-for-$list")" = "$(<"$ROOT/setup.py")" ]; } || return 1
    done
}

# A subshell, so that the lock is free again when it ends, whatever ends it, and no descriptor is left behind.
make_environment() (
    existing=
    { mkdir -p "$VENV" && : >>"$VENV/lock"; } 2>/dev/null ||
        refuse "cannot make an environment in $VENV: not writable (run $0 once as the owner of the checkout)"
    exec 9>>"$VENV/lock"
    flock 9 || refuse "cannot lock $VENV/lock"
    made_for "$@" && exit 0 # another run made it while this one waited

    if [ ! -e "$VENV/unfinished" ] && usable_environment; then
        existing=yes
        echo "xget: bringing its environment in $VENV up to date..." >&2
    else
        echo "xget: making its environment in $VENV (first use only)..." >&2
        create_empty || exit
    fi
    : >"$VENV/unfinished"
    install_packages "$@" || {
        # No network, say. An environment that worked so far is not thrown away for that.
        [ -z "$existing" ] || rm "$VENV/unfinished"
        exit 1
    }
    rm "$VENV/unfinished"
    for list; do
        cp "$ROOT/setup.py" "$VENV/made-for-$list"
    done
)

usable_environment() {
    "$PYTHON" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

create_empty() {
    local base
    base=$(usable_python) || return
    : >"$VENV/unfinished"
    find "$VENV" -mindepth 1 -maxdepth 1 ! -name lock ! -name unfinished -exec rm -rf {} +
    shown_if_it_fails "$base" -m venv "$VENV"
}

# The file name of a Python that can do it. The real file, not a link or a wrapper: /usr/bin/python3 becomes another
# version one day, and the environment with it useless; /usr/bin/python3.11 goes away, and that is noticed.
usable_python() {
    local name found major minor path why="no Python found: 3.11 or newer is needed"
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        found=$("$name" -c 'import os, sys; print(*sys.version_info[:2], os.path.realpath(sys.executable))' 2>/dev/null) ||
            continue
        read -r major minor path <<<"$found"
        if [ "$major" -eq 3 ] && [ "$minor" -lt 11 ]; then
            why="Python $major.$minor is too old: 3.11 or newer is needed"
        elif ! "$path" -c 'import venv, ensurepip' 2>/dev/null; then
            why="$path has no venv or no ensurepip module, which first use needs (apt install python3-venv)"
        else
            echo "$path"
            return
        fi
    done
    refuse "$why"
}

install_packages() {
    local packages
    packages=$(cd "$ROOT" && "$PYTHON" -B -c \
        'import setup, sys; print("\n".join(one for name in sys.argv[1:] for one in getattr(setup, name)))' "$@") || return
    shown_if_it_fails "$PYTHON" -m pip install --quiet --disable-pip-version-check --requirement /dev/stdin <<<"$packages"
}

shown_if_it_fails() {
    local output status=0
    output=$("$@" 2>&1) || status=$?
    [ $status -ne 0 ] || return 0
    echo "$output" >&2
    echo "xget: the environment could not be made: see above (the next run tries again; a proxy is set with https_proxy)" >&2
    return 1
}
