#!/bin/sh
# Makes the virtual environment build/peers-venv with PyTorch, for bench/peers.
#   bench/peers/setup.sh [PYTHON]
# On x86-64 the plain PyTorch wheel does not load without the CUDA packages that it names, so they
# come along: about 5.5 GB on disk. A CPU build of the same version serves as well: pip takes it if
# it is configured to find one.
set -eu
cd "$(dirname -- "$0")/../.."
python=${1:-python3}
venv=build/peers-venv

fail() {
    echo "setup.sh: $1" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    fail "no $python; install Python 3.11 or later with its venv module"
mkdir -p build
[ -x $venv/bin/pip ] || "$python" -m venv $venv ||
    fail "cannot make $venv; on Debian install python3-venv, then remove $venv and try again"
$venv/bin/pip install --disable-pip-version-check -r bench/peers/requirements.txt ||
    fail "pip could not install bench/peers/requirements.txt; its message stands above"
$venv/bin/python -c 'import matplotlib, torch; print("PyTorch", torch.__version__, "for",
    torch.backends.cpu.get_cpu_capability(), "in build/peers-venv")' ||
    fail "PyTorch is installed but does not load; remove $venv and try again"
command -v c++ >/dev/null ||
    echo "setup.sh: no C++ compiler: torch.compile will be reported as failed" >&2
