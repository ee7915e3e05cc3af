#!/usr/bin/env bash
# The receipts that need a CUDA GPU, in one command from the repository's root:
#
#   benchmarks/gpu.sh [FOLDER]        (FOLDER: build/gpu)
#
# It exports every model at both sizes (FP32 and typed FP16), times all backends that are installed
# side by side in one interleaved run for each size, and draws the pages. Networks without bundled
# weights get random ones, which take the same time; the receipt holds the artefacts' hashes.
# MODELS, SIZES, ITERATIONS and MINUTES (of each loop) change what is run; where time is short,
# BENCH_OPTIONS=--no-memory saves loading and compiling everything a second time.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/gpu}
models=${MODELS:-las1 las2_s las2_m las2_h}
sizes=${SIZES:-384x1248 480x640}
python=${PYTHON:-python3}
mkdir -p "$out"

has() { "$python" -c "$1" >/dev/null 2>&1; }

backends=(torch torch:autocast torch:compile torch:compile-autocast)
has 'from litestereo.runtime.backends import BACKEND_NAMES as b; import onnxruntime as o
assert "onnxruntime-cuda" in b and "CUDAExecutionProvider" in o.get_available_providers()' &&
    backends+=(onnxruntime-cuda onnxruntime-cuda:tf32)
tensorrt=no
has 'from litestereo.runtime.backends import BACKEND_NAMES as b; import tensorrt
assert "tensorrt" in b' && tensorrt=yes
echo "backends: ${backends[*]}, tensorrt: $tensorrt" >&2

weights() { # the weights of model $1: bundled, or random ones of a fixed seed
    "$python" - "$1" "$out/$1.safetensors" <<'PY'
import sys
import torch
from litestereo import models
from litestereo.assets import bundled_artifact, bundled_models

name, path = sys.argv[1:]
if name in bundled_models():
    print(bundled_artifact(name))
else:
    torch.manual_seed(1)
    models.save_weights(models.create(name), path)
    print(path)
PY
}

export_artifact() { # model $1 of weights $2 at size $3, further options after
    local model=$1 from=$2 height=${3%x*} width=${3#*x}
    shift 3
    "$python" -c 'import sys; from litestereo.cli import export_main; sys.exit(export_main())' \
        --model "$model" --weights "$from" --height "$height" --width "$width" --skip-gate "$@"
}

bench() { "$python" -c 'import sys; from litestereo.cli import bench_main; sys.exit(bench_main())' "$@"; }

status=0
for size in $sizes; do
    subjects=()
    for model in $models; do
        from=$(weights "$model")
        full="$out/$size/$model.onnx" half="$out/$size/${model}_fp16.onnx"
        mkdir -p "$out/$size"
        [ -f "$full" ] || export_artifact "$model" "$from" "$size" -o "$full" >/dev/null
        for backend in "${backends[@]}"; do subjects+=("$full@$backend"); done
        if [ "$tensorrt" = yes ]; then
            [ -f "$half" ] || export_artifact "$model" "$from" "$size" --fp16 -o "$half" >/dev/null
            subjects+=("$full@tensorrt" "$full@tensorrt:tf32" "$half@tensorrt" "$half@tensorrt:enqueue")
        fi
    done
    bench "${subjects[@]}" --size "$size" --device "${DEVICE:-cuda}" --rate "${RATE:-30}" \
        --iterations "${ITERATIONS:-1000}" --minutes "${MINUTES:-4}" ${BENCH_OPTIONS:-} \
        -o "$out/latency-gpu-$size.json" || status=$?
    bench report "$out/latency-gpu-$size.json" -o "$out/latency-gpu-$size.html" || status=$?
done
echo "receipts: $out/latency-gpu-*.json; commit them under benchmarks/results/" >&2
exit "$status"
