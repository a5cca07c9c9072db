# Creates the Python environment of this checkout in .venv. Other scripts, such as scripts/xget, source this file.
#
#     ROOT=...checkout...; . "$ROOT/scripts/environment.sh"; environment RUNTIME      (or: RUNTIME TESTS)
#
# The arguments are names of package lists in setup.py. Afterwards $PYTHON is an interpreter with these packages. For
# each list, the environment contains a copy of the setup.py from which it was made. The shell compares this copy with
# setup.py. So if the environment is complete, no process is started.
#
#     .venv/made-for-RUNTIME   copy of setup.py; written last, so it exists only if all packages are installed
#     .venv/unfinished         exists while packages are installed; a run that finds it creates the environment again
#     .venv/lock               locked by the run that creates the environment; other runs wait for it

VENV=$ROOT/.venv
PYTHON=$VENV/bin/python

refuse() {
    echo "xget: $*" >&2
    exit 1
}

environment() {
    made_for "$@" || make_environment "$@"
    keep_compiled_modules
}

# Who cannot write beside the modules would compile all of them in each run, which takes seconds. Usually who made the
# environment has compiled them. Otherwise they are kept below the home directory, if it belongs to this user: nobody
# else may say what runs here.
keep_compiled_modules() {
    [ -d "$ROOT/xget_lib/__pycache__" ] || [ -w "$ROOT/xget_lib" ] || [ ! -O "${HOME-}" ] ||
        export PYTHONPYCACHEPREFIX="${PYTHONPYCACHEPREFIX-$HOME/.cache/xget/python}"
}

made_for() {
    local list
    [ -x "$PYTHON" ] || return 1 # fails also if the interpreter that the link points to was removed
    for list; do
        { [ -r "$VENV/made-for-$list" ] && [ "$(<"$VENV/made-for-$list")" = "$(<"$ROOT/setup.py")" ]; } || return 1
    done
}

# The function is a subshell: when it ends for any reason, the lock and its descriptor are released.
make_environment() (
    existing=
    { mkdir -p "$VENV" && : >>"$VENV/lock"; } 2>&- ||
        refuse "cannot create the Python environment in $VENV: not writable (run $0 once as the owner of this directory)"
    exec 9>>"$VENV/lock"
    flock 9 || refuse "cannot lock $VENV/lock"
    made_for "$@" && exit 0 # another run created the environment while this run waited

    if [ ! -e "$VENV/unfinished" ] && usable_environment; then
        existing=yes
        echo "xget: updating the Python environment in $VENV..." >&2
    else
        echo "xget: creating the Python environment in $VENV (first use only)..." >&2
        create_empty || exit
    fi
    : >"$VENV/unfinished"
    install_packages "$@" || {
        # For example, there is no network. Keep an environment that worked before.
        [ -z "$existing" ] || rm "$VENV/unfinished"
        exit 1
    }
    "$PYTHON" -m compileall -q "$ROOT/xget_lib" >&2 || true # pip has compiled the packages
    rm "$VENV/unfinished"
    for list; do
        cp "$ROOT/setup.py" "$VENV/made-for-$list"
    done
)

usable_environment() {
    "$PYTHON" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>&-
}

create_empty() {
    local base
    base=$(usable_python) || return
    : >"$VENV/unfinished"
    find "$VENV" -mindepth 1 -maxdepth 1 ! -name lock ! -name unfinished -exec rm -rf {} +
    shown_if_it_fails "$base" -m venv "$VENV"
}

# Prints the file name of a suitable Python: the real file, not a symbolic link. An upgrade can change the link
# /usr/bin/python3 to another version, and this would break the environment without an error. If a real file such as
# /usr/bin/python3.11 is removed, made_for detects this.
usable_python() {
    local name found major minor path why="no Python found; 3.11 or newer is required"
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        found=$("$name" -c 'import os, sys; print(*sys.version_info[:2], os.path.realpath(sys.executable))' 2>&-) ||
            continue
        read -r major minor path <<<"$found"
        if [ "$major" -eq 3 ] && [ "$minor" -lt 11 ]; then
            why="Python $major.$minor is too old; 3.11 or newer is required"
        elif ! "$path" -c 'import venv, ensurepip' 2>&-; then
            why="$path lacks the module venv or ensurepip, required on first use (apt install python3-venv)"
        else
            echo "$path"
            return
        fi
    done
    refuse "$why"
}

install_packages() {
    local packages # one a line
    packages=$(cd "$ROOT" && "$PYTHON" -B -c \
        'import setup, sys; print("\n".join(one for name in sys.argv[1:] for one in getattr(setup, name)))' "$@") || return
    local IFS=$'\n'
    set -f # names of packages may look like patterns
    # shellcheck disable=SC2086
    shown_if_it_fails "$PYTHON" -m pip install --quiet --disable-pip-version-check $packages
}

shown_if_it_fails() {
    local output status=0
    output=$("$@" 2>&1) || status=$?
    [ $status -ne 0 ] || return 0
    echo "$output" >&2
    echo "xget: cannot create the Python environment, see above (the next run tries again; set https_proxy to use a proxy)" >&2
    return 1
}
