#!/usr/bin/env bash
# Sets up everything that `make run` or `make test` needs, in the checkout it stands in.
#
#   scripts/setup.sh run      the app: system packages, .venv, Python packages, SKY130 models
#   scripts/setup.sh test     the same, plus what lint, tests, training and benchmarks need
#   scripts/setup.sh key      prints what the stamp holds, as a key for caches of CI services
#
# Safe to run again, and at the same time as another copy of itself. A finished set-up leaves a
# stamp in .venv; as long as pyproject.toml, this script and the interpreter stay the same, a later
# run only compares the stamp. Nothing outside .venv is touched except: system packages (with root
# or password-less sudo; otherwise the command is printed) and the device models, which go to the
# user's data folder.
#
# Settings, all optional:
#   PYTHON           the interpreter to build .venv with (3.11 or newer)
#   ACS_TORCH        a pip requirement for torch, to override the choice made below
#   ACS_TORCH_INDEX  where CPU-only torch wheels are, when pip's own sources have none
#   CMAKE_ARGS       passed on to the build of llama-cpp-python (GPU back ends, for example)
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly root=$PWD venv=$PWD/.venv
readonly mode=${1:-run}
readonly torch_cpu_version=2.13.0
readonly torch_cpu_index=${ACS_TORCH_INDEX:-}
case $mode in
run) extras="" ;;
test) extras="[dev,train,bench,compare,serve]" ;;
key) ;;
*)
    echo "usage: scripts/setup.sh run|test|key" >&2
    exit 2
    ;;
esac

say() { printf '%s\n' "setup: $*"; }
die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

fingerprint() {
    # The interpreter is part of it: a .venv whose python was upgraded or removed is made again.
    { cat pyproject.toml scripts/setup.sh acs_assistant/__init__.py && echo "$root" &&
        { readlink "$venv/bin/python" 2>/dev/null || true; }; } | cksum
}

stamped() {
    [ -x "$venv/bin/acs-assistant" ] && [ -x "$venv/bin/python" ] || return 1
    local stamp now
    now=$(fingerprint)
    for stamp in "$venv/.acs-$mode" "$venv/.acs-test"; do
        [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] && return 0
    done
    return 1
}

pdk_present() {
    local place data
    for place in combined ngspice; do
        case ${PDK:-} in
        sky130*) [ -f "${PDK_ROOT:-}/$PDK/libs.tech/$place/sky130.lib.spice" ] && return 0 ;;
        esac
    done
    data=${XDG_DATA_HOME:-$HOME/.local/share}
    [ "$(uname)" = Darwin ] && [ -z "${XDG_DATA_HOME:-}" ] &&
        data="$HOME/Library/Application Support"
    [ -f "$data/acs-assistant/pdk/sky130/sky130.lib.spice" ]
}

has_ngspice_library() {
    [ -n "${NGSPICE_LIBRARY_PATH:-}" ] && [ -e "$NGSPICE_LIBRARY_PATH" ] && return 0
    local place
    for place in /usr/lib /usr/lib64 /usr/lib/*-linux-gnu /usr/local/lib /usr/local/lib64 \
        /opt/homebrew/lib; do
        for library in "$place"/libngspice.so* "$place"/libngspice*.dylib; do
            [ -e "$library" ] && return 0
        done
    done
    PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -q 'libngspice\.so'
}

if [ "$mode" = key ]; then
    fingerprint
    exit
fi

# ---------------------------------------------------------------- the quick way out
if stamped && pdk_present && has_ngspice_library; then
    exit 0
fi

# ---------------------------------------------------------------- steps with progress
steps=5
step=0
begin() {
    step=$((step + 1))
    say "[$step/$steps] $*"
}

elapsed() { printf '%dm%02ds' $((($SECONDS - $1) / 60)) $((($SECONDS - $1) % 60)); }

# Runs a long command with its output in a log; says every few seconds that it is alive, and what
# ninja last reported when something is being compiled.
quietly() {
    local title=$1 log begins started=$SECONDS last=$SECONDS pid counter status=0 every=20
    shift
    mkdir -p "$venv"
    log=$venv/setup.log
    [ -t 1 ] && every=1
    printf '\n$ %s\n' "$*" >>"$log"
    begins=$(($(wc -c <"$log") + 1))
    set -m # a process group of its own, so that Ctrl+C also ends the compilers
    "$@" >>"$log" 2>&1 </dev/null &
    pid=$!
    set +m
    trap 'kill -- -$pid 2>/dev/null; exit 130' INT TERM HUP
    while kill -0 $pid 2>/dev/null; do
        sleep 0.3
        [ $((SECONDS - last)) -ge $every ] || continue
        last=$SECONDS
        counter=$(tail -c "+$begins" "$log" | grep -o '^ *\[[0-9]*/[0-9]*\]' | tail -n 1 | tr -d ' ' || true)
        if [ -t 1 ]; then
            printf '\r\033[K       %s  %s %s' "$title" "$counter" "$(elapsed $started)"
        else
            say "      $title $counter $(elapsed $started)"
        fi
    done
    wait $pid || status=$?
    trap - INT TERM HUP
    [ -t 1 ] && printf '\r\033[K'
    if [ $status -ne 0 ]; then
        tail -c "+$begins" "$log" | tail -n 25 >&2
        return $status
    fi
    say "      $title: done in $(elapsed $started)"
}

# ---------------------------------------------------------------- system packages
apt_install() {
    local packages=("$@") sudo=""
    if ! command -v apt-get >/dev/null; then
        return 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        sudo="sudo -n"
    fi
    say "      installing ${packages[*]} with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get install -y --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
        { $sudo apt-get update -q >/dev/null 2>&1 &&
            $sudo apt-get install -y --no-install-recommends "${packages[@]}" >/dev/null; }
}

# need WHAT apt-package fedora-package homebrew-package
missing_apt=() missing_dnf=() missing_brew=() missing_why=()
need() {
    missing_apt+=("$2")
    missing_dnf+=("$3")
    missing_brew+=("$4")
    missing_why+=("$1")
}

# ---------------------------------------------------------------- Python
good_python() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.12 python3.11 python3.13 python3.14; do
        if [ -n "$candidate" ] && good_python "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

begin "Python and system packages"
python=$(find_python) || {
    apt_install python3 python3-venv || true
    python=$(find_python) || die \
        "no Python 3.11 or newer was found (looked at \$PYTHON, python3, python3.11 to 3.14)." \
        "Debian 12, Ubuntu 24.04:  sudo apt install python3 python3-venv" \
        "Fedora:                   sudo dnf install python3" \
        "macOS:                    brew install python@3.12" \
        "or name one yourself:     PYTHON=/path/to/python3.12 make $mode"
}
say "      $("$python" --version) at $python"

# One set-up at a time. The lock belongs to file descriptor 9 of this shell and goes with it.
exec 9>"$root/.setup.lock"
"$python" - <<'LOCK'
import fcntl

try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("setup:       another set-up is at work here; waiting for it", flush=True)
    fcntl.flock(9, fcntl.LOCK_EX)
LOCK
if stamped && pdk_present && has_ngspice_library; then
    say "the other set-up did it all."
    exit 0
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    need "Python's venv module" "python3-venv" "python3" "python@3.12"
fi
if ! has_ngspice_library; then
    need "libngspice, the simulator as a library" "libngspice0" "libngspice" "libngspice"
fi
if ! command -v c++ >/dev/null && ! command -v g++ >/dev/null && ! command -v clang++ >/dev/null; then
    need "a C++ compiler, for llama-cpp-python" "build-essential" "gcc-c++" "gcc"
fi
if [ "$mode" = test ] && ! command -v ngspice >/dev/null; then
    need "the ngspice program, which tests compare with" "ngspice" "ngspice" "ngspice"
fi
if [ ${#missing_apt[@]} -gt 0 ]; then
    for why in "${missing_why[@]}"; do say "      missing: $why"; done
    apt_install "${missing_apt[@]}" || die \
        "these need a package manager and its password, so please run one of:" \
        "  Debian, Ubuntu:  sudo apt update && sudo apt install ${missing_apt[*]}" \
        "  Fedora:          sudo dnf install ${missing_dnf[*]}" \
        "  macOS:           brew install ${missing_brew[*]}" \
        "and then 'make $mode' again. A libngspice of your own: set NGSPICE_LIBRARY_PATH to its file."
fi
say "      libngspice, C++ compiler: there"

# ---------------------------------------------------------------- virtual environment
begin "virtual environment .venv"
if [ -x "$venv/bin/python" ] && good_python "$venv/bin/python" &&
    "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    say "      $("$venv/bin/python" --version), kept"
else
    "$python" -m venv --clear "$venv"
    say "      made with $("$venv/bin/python" --version)"
fi
pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input)

has_module() { "$venv/bin/python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)"; }

# ---------------------------------------------------------------- torch, for training only
# PyPI's torch for Linux on x86-64 brings some 3 GB of CUDA libraries. Without a GPU the CPU build
# is taken: from pip's own sources if they have one, else from the index that ACS_TORCH_INDEX
# names, and only then PyPI's. Elsewhere (macOS, ARM) PyPI's wheel is the CPU build already.
has_gpu() { [ -e /dev/nvidia0 ] || [ -d /proc/driver/nvidia/gpus ]; }

install_torch() {
    has_module torch && return 0
    if [ -n "${ACS_TORCH:-}" ]; then
        quietly "$ACS_TORCH" "${pip[@]}" install "$ACS_TORCH"
        return
    fi
    [ "$(uname -sm)" = "Linux x86_64" ] && ! has_gpu || return 0
    local cpu="torch==$torch_cpu_version+cpu"
    quietly "torch for the CPU" "${pip[@]}" install "$cpu" 2>/dev/null && return 0
    [ -n "$torch_cpu_index" ] && quietly "torch for the CPU, from ACS_TORCH_INDEX" "${pip[@]}" --retries 1 --timeout 20 install \
        --extra-index-url "$torch_cpu_index" "$cpu" 2>/dev/null && return 0
    say "      no CPU build of torch could be had; taking PyPI's (3 GB with its CUDA libraries)"
}

begin "Python packages$([ -n "$extras" ] && echo " $extras")"
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$cores}
# Its library for images is a quarter of the build and nothing here looks at images.
export CMAKE_ARGS="${CMAKE_ARGS:-} -DLLAVA_BUILD=OFF"
if ! has_module llama_cpp; then
    say "      llama-cpp-python is compiled for this processor: about 4 minutes on 2 cores"
    requirement=$(grep -o 'llama-cpp-python[^"]*' pyproject.toml | head -n 1)
    quietly "llama-cpp-python" "${pip[@]}" install --verbose "$requirement" || die \
        "llama-cpp-python did not build; the end of its log is above, the whole in .venv/setup.log." \
        "It needs a C++17 compiler (gcc 9 or clang 10 or newer) and about 2 GB of memory." \
        "With less memory: CMAKE_BUILD_PARALLEL_LEVEL=1 make $mode"
fi
if [ "$mode" = test ]; then install_torch; fi
# Without build isolation nothing is fetched when every requirement is met: works with no network.
quietly "setuptools" "${pip[@]}" install "setuptools>=77" &&
    quietly "packages" "${pip[@]}" install --no-build-isolation --editable ".$extras" || die \
    "pip could not install the packages; the end of its log is above, the whole in .venv/setup.log." \
    "Without a network, or behind a proxy: see 'pip config' and run 'make $mode' again."

# ---------------------------------------------------------------- device models
begin "SKY130 device models"
if pdk_present; then
    say "      there"
else
    "$venv/bin/acs-assistant" pdk install sky130 || die \
        "the device models could not be installed; the reason is above." \
        "If you have open_pdks, set PDK_ROOT and PDK to it instead, and run 'make $mode' again."
fi

# ---------------------------------------------------------------- done
begin "stamp"
fingerprint >"$venv/.acs-$mode"
say "ready. 'acs-assistant doctor' tells what is installed; .venv/bin/acs-assistant is the program."
