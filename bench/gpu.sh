#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: the tests of its kernels, what ops and models cost, tuning; at most 9.5 minutes a call.
# A call goes on where the last one stopped, until it says that everything is done:
#
#     bash bench/gpu.sh [FOLDER]          bench/results/<gpu>/<date> unless given
#
# Needs torch's CUDA build and the packages of `pip install -e .[dev,cuda12]` (or cuda13). PYTHON names the interpreter;
# .venv/bin/python, else python3, unless given.
# What it leaves, and what of that to commit, is in docs/benchmarking.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
unset TRITON_INTERPRET
python=python3
[ -x .venv/bin/python ] && python=.venv/bin/python
exec "${PYTHON:-$python}" -m fastk.bench.gpu "$@"
