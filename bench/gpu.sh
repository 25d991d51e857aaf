#!/usr/bin/env bash
# On a machine with an NVIDIA GPU, within 11 minutes: the tests of its kernels, then what every op costs, then what
# whole models cost beside a torch loop. Needs torch's CUDA build and the packages of `pip install -e .[dev,cuda12]` (or
# cuda13). The tests' log and the measurements are left in a folder, whatever fails:
#
#     bash bench/gpu.sh [FOLDER]          bench/results/<date> unless given
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
unset TRITON_INTERPRET
results="${1:-bench/results/$(date +%Y-%m-%d)}"
mkdir -p "$results"
"$python" -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "torch sees no CUDA device: check nvidia-smi")' || exit 1

failed=0
timeout 240 "$python" -m pytest -q -m gpu --numprocesses 4 tests 2>&1 | tee "$results/tests.log" || failed=1
timeout 250 "$python" -m bench.ops --seconds 200 --json "$results/ops.json" 2>&1 | tee "$results/ops.log" || failed=1
timeout 150 "$python" -m bench.models --providers fastk torch --rounds 5 --json "$results/models.json" 2>&1 | tee "$results/models.log" || failed=1
exit $failed
