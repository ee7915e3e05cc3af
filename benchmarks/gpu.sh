#!/usr/bin/env bash
# The receipts that need a CUDA GPU, in one command from the repository's root:
#
#   benchmarks/gpu.sh [FOLDER]        (FOLDER: build/gpu)
#
# Times all backends that are installed side by side, one interleaved run for each size, and draws
# the pages. Artefacts NAME.onnx and NAME_fp16.onnx are taken from ARTIFACTS where they are there,
# and else exported (which needs litestereo[export]); networks without bundled weights get random
# ones, which take the same time; the receipt holds the artefacts' hashes.
#
# MODELS, SIZES, ITERATIONS, RATE (of the open loop; empty for none) and MINUTES (of each loop) change
# what is run; BENCH_OPTIONS=--no-memory saves loading and compiling everything a second time.
# TRT_PYTHON is TensorRT's interpreter where that is not PYTHON's, TRT_OPTIONS goes to stereo-bench
# (--tactic-sources, --engine-cache), TORCH_VARIANTS and TRT_VARIANTS say what of each is timed,
# SUBJECTS what else, in stereo-bench's words ({size} stands for the size), and LEAVE_OUT what is not
# timed: engines that a TensorRT cannot build would cost minutes (las2_h:fp16:plugin of 8.6).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/gpu}
RATE=${RATE-30}
SUBJECTS=${SUBJECTS-}
LEAVE_OUT=${LEAVE_OUT-}
models=${MODELS:-las1 las2_s las2_m las2_h}
sizes=${SIZES:-384x1248 480x640}
python=${PYTHON:-python3}
artifacts=${ARTIFACTS:-$out/artifacts}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1

if [ "${DEVICE:-cuda}" != cpu ]; then # before the minutes that exports take
    "$python" - <<'PY' || exit 1
import sys
from litestereo.errors import LiteStereoError
from litestereo.runtime.cuda.driver import Driver

try:
    Driver.open()
except LiteStereoError as error:
    sys.exit(f"gpu.sh: error: {error}")
PY
fi
mkdir -p "$out" "$artifacts"

has() { "$1" -c "$2" >/dev/null 2>&1; }

read -ra backends <<<"${TORCH_VARIANTS-torch torch:autocast torch:compile torch:compile-autocast}"
has "$python" 'import onnxruntime as o
assert "CUDAExecutionProvider" in o.get_available_providers()' &&
    backends+=(onnxruntime-cuda onnxruntime-cuda:tf32)
tensorrt=()
has "${TRT_PYTHON:-$python}" 'import tensorrt' &&
    read -ra tensorrt <<<"${TRT_VARIANTS-fp32 fp32:tf32 fp16 fp16:enqueue}"
echo "backends: ${backends[*]}; tensorrt: ${tensorrt[*]:-none}" >&2

run() { "$python" -c "import sys; from litestereo.cli import $1_main; sys.exit($1_main())" "${@:2}"; }

artefact() { # prints the file of model $1 in precision $2; exports it where there is none
    local name=$1 weights=$artifacts/$1.safetensors options=(--skip-gate)
    [ "$2" = fp16 ] && name+=_fp16 options+=(--fp16)
    if [ -f "$artifacts/$name.onnx" ]; then
        echo "$artifacts/$name.onnx"
    elif [ "$name" = las1 ]; then
        echo las1
    else
        [ "$1" = las1 ] || random_weights "$1" "$weights" >&2
        [ "$1" = las1 ] || options+=(--weights "$weights" --source "random, seed 1")
        run export --model "$1" "${options[@]}" -o "$artifacts/$name.onnx"
    fi
}

random_weights() { # of model $1 into the file $2
    [ -f "$2" ] || "$python" - "$1" "$2" <<'PY'
import sys
from pathlib import Path
import torch
from litestereo import models

torch.manual_seed(1)
models.save_weights(models.create(sys.argv[1]), Path(sys.argv[2]))
PY
}

status=0
for size in $sizes; do
    # shellcheck disable=SC2206
    subjects=(${SUBJECTS//\{size\}/$size})
    for model in $models; do
        full=$(artefact "$model" fp32)
        for backend in "${backends[@]}"; do subjects+=("$full@$backend"); done
        for variant in "${tensorrt[@]}"; do
            case " $LEAVE_OUT " in *" $model:$variant "*) continue ;; esac
            kind=${variant#fp??}
            subjects+=("$(artefact "$model" "${variant%%:*}")@tensorrt$kind")
        done
    done
    # shellcheck disable=SC2086
    run bench "${subjects[@]}" --size "$size" --device "${DEVICE:-cuda}" \
        ${RATE:+--rate "$RATE"} --iterations "${ITERATIONS:-1000}" --minutes "${MINUTES:-4}" \
        ${TRT_PYTHON:+--tensorrt-python "$TRT_PYTHON"} ${TRT_OPTIONS:-} ${BENCH_OPTIONS:-} \
        -o "$out/latency-gpu-$size.json" || status=$?
    if [ ! -f "$out/latency-gpu-$size.json" ]; then
        echo "no receipt of $size: nothing could be timed" >&2
        continue
    fi
    run bench report "$out/latency-gpu-$size.json" -o "$out/latency-gpu-$size.html" || status=$?
    echo "receipt: $out/latency-gpu-$size.json; commit it under benchmarks/results/" >&2
done
exit "$status"
