#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: the tests that need one, the tests of what runs on it, and what `fit` costs beside a
# torch loop. Needs torch's CUDA build and the packages of `pip install -e .[dev]`; takes a few minutes.
#
#     bash bench/gpu.sh [RESULTS.json]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$python" -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "torch sees no CUDA device: check nvidia-smi")'
"$python" -m pytest -q -m gpu tests
"$python" -m pytest -q tests/models tests/layers tests/training tests/losses tests/metrics tests/optimizers
"$python" bench/fit_overhead.py --json "${1:-fit_overhead.json}"
