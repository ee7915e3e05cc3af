#!/usr/bin/env bash
# Proves the TensorRT engines on a GPU, step by step, from the repository's root:
#
#   benchmarks/proof/proof.sh STEP [ARGUMENTS]
#
#   smoke [NAME] [SIZE]     one engine, end to end, with all that helps when something fails
#   plugin                  compiles the plugin, which engines called NAME.plugin are built with
#   build NAME@SIZE...      builds engines, PROOF_PARALLEL at once (4)
#   pictures FOLDER...      prepares all pairs of folders, and rendered planes
#   accuracy NAME FOLDER...  stereo-eval with one engine for all sizes (its interpreter needs OpenCV)
#   fidelity NAME@SIZE...   compares engines with torch in FP32 on all of them
#   running STEP NAME@SIZE...   starts, latencies, memory, threads, bindings, torch beside it
#   plans build|load NAME@SIZE [MODULE]   a version-compatible plan on another runtime
#   int8 NAME_int8@SIZE...  INT8 against FP16: engines, turns, layers left in floating point, fidelity
#   int8-bisect NAME_int8@SIZE   what TensorRT 8.6 refuses of an INT8 graph, build by build
#   faults memory|kills NAME@SIZE   a full GPU; builds that are killed
#   pieces FOLDER [NAME...]  small networks of benchmarks/piece_graphs.py
#   speed STEP ...          engines in turns, layers beside floors, build options, engines at once
#   libtorch                compiles what `running beside-torch` needs
#
# `sitting.py PLAN FOLDER` runs many of them unattended, some beside others: receipts.plan is one.
#
# Findings worth keeping go to benchmarks/proof/results/.
#
# TRT_PYTHON is TensorRT's interpreter, PYTHON torch's (python3 both); PROOF_WORK holds pictures,
# engines and answers (/tmp/proof), PROOF_OUT the findings, PROOF_ARTIFACTS the artefacts other than
# the bundled ones, PROOF_CACHE one folder for all engines, as stereo-bench and gpu.sh take it (else each has
# its own below PROOF_WORK), PROOF_TRUTH the scenes with ground truth, PROOF_LEVEL TensorRT's effort (3),
# PROOF_CONSTRAINTS whether 8.6 must obey the FP32 islands (obey) or may do otherwise (prefer; INT8
# always may), PROOF_LIMIT the seconds that a build of int8-bisect may take (150).
set -uo pipefail
cd "$(dirname "$0")/../.."
here=benchmarks/proof
export PROOF_WORK=${PROOF_WORK:-/tmp/proof}
export PROOF_OUT=${PROOF_OUT:-${OUT:-$PROOF_WORK/out}}
export PROOF_PLUGIN=${PROOF_PLUGIN:-$PROOF_WORK/plugin.so}
export PROOF_LIBTORCH=${PROOF_LIBTORCH:-$PROOF_WORK/libbeside_torch.so}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
trt=${TRT_PYTHON:-python3}
python=${PYTHON:-python3}
mkdir -p "$PROOF_WORK" "$PROOF_OUT"
step=${1:?which step? see the top of $0}
shift

libtorch() { # with nothing of the compiler's own C++ library in sight: TensorRT's plugins would take it for theirs
    local flags
    flags=$("$python" -c '
import torch
from torch.utils import cpp_extension as c
print(*(f"-isystem{p}" for p in c.include_paths()), *(f"-L{p} -Wl,-rpath,{p}" for p in c.library_paths()),
      f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}")') || return
    # shellcheck disable=SC2086
    "${CXX:-g++}" -std=c++20 -O1 -shared -fPIC $here/beside_torch.cpp $flags \
        -Wl,--exclude-libs,ALL,-Bsymbolic -Wl,--no-as-needed -ltorch -ltorch_cpu -lc10 ${LIBTORCH_CUDA--ltorch_cuda -lc10_cuda} \
        -o "$PROOF_LIBTORCH"
}

plugin() { # by the tests' declarations where TensorRT came without headers
    local compiled
    [ -n "${CPATH:-}" ] || [ -f "/usr/include/$(uname -m)-linux-gnu/NvInferRuntime.h" ] ||
        export CPATH=$PWD/tests/runtime/tensorrt/headers
    compiled=$("$trt" -m litestereo.runtime.tensorrt.plugin "$PROOF_WORK/plugin") || return
    ln -sf "$compiled" "$PROOF_PLUGIN" && echo "$PROOF_PLUGIN"
}

case $step in
plugin) plugin ;;
smoke) "$trt" -X faulthandler $here/smoke.py "$@" ;;
build) "$trt" -X faulthandler $here/build_engines.py "$@" ;;
pictures) "$python" $here/pictures.py "$@" ;;
accuracy) "$trt" -X faulthandler $here/accuracy.py "$@" ;;
fidelity) "$trt" -X faulthandler $here/answers.py "$@" && "$python" $here/fidelity.py "$@" ;;
running) "$trt" -X faulthandler $here/running.py "$@" ;;
speed) "$trt" -X faulthandler $here/speed.py "$@" ;;
faults) "$trt" -X faulthandler $here/faults.py "$@" ;;
pieces) "$trt" -X faulthandler $here/pieces.py "$@" ;;
plans) "$trt" -X faulthandler $here/plans.py "$@" ;;
int8)
    "$trt" -X faulthandler $here/int8.py engines "$@" &&
        "$trt" -X faulthandler $here/answers.py "$@" && "$python" $here/int8.py fidelity "$@"
    ;;
int8-bisect) "$trt" -X faulthandler $here/int8_bisect.py "$@" ;;
libtorch) libtorch ;;
*) echo "no step is called $step; see the top of $0" >&2; exit 2 ;;
esac
