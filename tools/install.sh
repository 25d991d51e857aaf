#!/bin/sh
# Makes .venv and installs fastk into it, editable, with one extra:
#
#     sh tools/install.sh examples|docs|dev
#
# Without an NVIDIA GPU, torch is pinned to TORCH_CPU; with one, torch's default CUDA build is taken together with
# the CuPy of the driver's CUDA version. PYTHON names the interpreter to use. pip's own settings are honoured.
# A second call does nothing until what is to be installed changes.
set -euf

TORCH_CPU=2.13.0

extra=${1:?usage: sh tools/install.sh examples|docs|dev}
cd "$(dirname "$0")/.."

# A candidate counts when it runs and is new enough: a version manager's shim may exist for a version that does not.
find_python() {
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python >= 3.11 was found (tried: ${PYTHON:-python3.13 python3.12 python3.11 python3 python})." \
        "Install one, or name it: make PYTHON=/path/to/python3 ..." >&2
    return 1
}

# Some systems ship Python without ensurepip; pip is then installed by the system's own.
make_venv() {
    "$1" -m venv --clear .venv >/dev/null 2>&1 && return
    "$1" -m venv --clear --without-pip .venv
    "$1" -m pip --python .venv/bin/python install pip
}

requirements="-e .[$extra]"
if summary=$(nvidia-smi 2>/dev/null); then
    cuda=$(echo "$summary" | sed -n 's/.*CUDA[A-Z ]* Version: *\([0-9][0-9]*\)\..*/\1/p' | head -n 1)
    case $cuda in
        12 | 13) requirements="-e .[$extra,cuda$cuda]" ;;
        *) echo "The driver's CUDA version (${cuda:-unknown}) has no CuPy here: fastk is installed without it." >&2 ;;
    esac
else
    requirements="torch==$TORCH_CPU $requirements"
fi

stamp=.venv/installed-$extra
wanted=$(echo "$requirements" && cat pyproject.toml setup.py tools/install.sh | cksum)
if .venv/bin/python -c '' 2>/dev/null; then
    [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || exit 0
else
    python=$(find_python)
    echo "Making .venv with $("$python" --version)"
    make_venv "$python"
fi

echo "Installing $requirements"
# shellcheck disable=SC2086 # the requirements are several words
.venv/bin/python -m pip install --disable-pip-version-check --quiet $requirements

if [ -n "${summary:-}" ] && ! .venv/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    .venv/bin/python -c 'import torch; print(torch.__version__, "was built for CUDA", torch.version.cuda)' >&2
    echo "It cannot use this machine's GPU (driver for CUDA ${cuda:-unknown}): fastk will run on the CPU." \
        "Install a torch built for the driver's CUDA version into .venv, or a newer driver." >&2
fi
echo "$wanted" >"$stamp"
