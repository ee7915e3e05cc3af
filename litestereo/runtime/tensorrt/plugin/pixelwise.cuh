// What the kernels of whole blocks share: two pixelwise layers with GELU between them, and the sum with what went in.
//
// A group of SPLIT thread blocks (a cluster from sm_90 on; alone before) owns 8x8 pixels. Each has what goes into the
// layers of all of them in shared memory, runs its share of the hidden channels through both layers on the tensor
// cores, and they add up what came out. Hidden values never leave the registers: what the first product leaves in a
// thread is what the second wants there.
//
// The order of the weights is that of `pixelwise.py`, `pack_pixelwise`.
#pragma once

#include <cooperative_groups.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor_cores.cuh"

namespace litestereo {

constexpr int kTile = 8;                 // pixels in each direction
constexpr int kPixels = kTile * kTile;   // of a group
constexpr int kRowWarps = 4;             // 16 pixels each: the rows of one tensor-core product
constexpr int kHiddenWarps = 2;          // 32 hidden channels each in one step
constexpr int kThreads = 32 * kRowWarps * kHiddenWarps;
constexpr int kStepHidden = 32 * kHiddenWarps;

// STAGES: steps whose weights are in shared memory at a time. RESIDENT: thread blocks for which a processor shall have
// registers. Channels are rounded up to 16, hidden ones to a step.
template <int CHANNELS, int EXPANSION, int SPLIT_, int STAGES_, int RESIDENT_>
struct Layers {
    static constexpr int C = CHANNELS, SPLIT = SPLIT_, STAGES = STAGES_, RESIDENT = RESIDENT_;
    static constexpr int G = (C + 15) / 16;                     // groups of 16 channels
    static constexpr int ALL_STEPS = (EXPANSION * C + kStepHidden - 1) / kStepHidden;
    static constexpr int STEPS = (ALL_STEPS + SPLIT - 1) / SPLIT;  // of one thread block; the last may have fewer
    static constexpr int STAGE_BYTES = kStepHidden * 16 * G * 2 * 2;  // both layers' weights of one step, half
    static constexpr int RING_BYTES = STAGES * STAGE_BYTES;
    static constexpr int PITCH = 16 * (G | 1);                  // of a pixel that goes in: no two rows on one bank
    static constexpr int MIXED_BYTES = kPixels * PITCH * 2;     // all that go in
    static constexpr int EXCHANGE_BYTES = kThreads * G * 16;
    static constexpr int PUSHED_BYTES = (SPLIT - 1) * kPixels * 16 * G / SPLIT * 4;
    static_assert(G % SPLIT == 0 && ALL_STEPS > (SPLIT - 1) * STEPS && EXCHANGE_BYTES <= RING_BYTES && C % 8 == 0);
};

__device__ inline void copy_async(void* shared, const void* global) {
    const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
}

// 16 bytes, or zeros where there is nothing to copy.
__device__ inline void copy_async_or_zero(void* shared, const void* global, bool there) {
    const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(there ? 16 : 0) : "memory");
}

__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int LEFT>
__device__ inline void wait_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }

__device__ inline uint32_t as_halves(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}

// x erf(x) + x: GELU where the factors of x and of the result are in the weights around it.
// erf(x) as tanh(x (a + b x^2 + c x^4)), fitted to within 4e-5; the hardware's tanh is good to half's 11 bits.
__device__ inline float folded_gelu(float x) {
    const float square = fminf(x * x, 16.0f);  // behind that both are 1, and the polynomial would turn round
    const float p = fmaf(fmaf(-0.001786474953405559f, square, 0.1040811836719513f), square, 1.1281434297561646f);
    float erf;
    asm("tanh.approx.f32 %0, %1;" : "=f"(erf) : "f"(p * x));
    return fmaf(x, erf, x);
}

// Copies the channels from piece FIRST to END, 8 each, of a window of pixels around (or at) one. Zeros are what is
// outside of the image, and behind the last channel.
template <int C, int ROWS, int WIDTH, int FIRST, int END, int PITCH>
__device__ inline void load_window(__half* shared, const __half* image, int top, int left, int height, int width) {
    constexpr int PIECES = END - FIRST;
    for (int item = threadIdx.x; item < ROWS * WIDTH * PIECES; item += kThreads) {
        const int pixel = item / PIECES, piece = FIRST + item % PIECES;
        const int y = top + pixel / WIDTH, x = left + pixel % WIDTH;
        const bool there = y >= 0 && y < height && x >= 0 && x < width && 8 * piece < C;
        const int64_t at = there ? (static_cast<int64_t>(y) * width + x) * C + 8 * piece : 0;
        copy_async_or_zero(shared + pixel * PITCH + 8 * piece, image + at, there);
    }
}

// A thread block's weights, step after step, each in the stage of shared memory that is its turn.
template <class P>
struct Ring {
    unsigned char* stages;
    const unsigned char* source;
    int steps;

    __device__ Ring(unsigned char* shared, const __half* weights, int rank)
        : stages(shared),
          source(reinterpret_cast<const unsigned char*>(weights) +
                 static_cast<int64_t>(rank) * P::STEPS * P::STAGE_BYTES),
          steps(P::ALL_STEPS % P::SPLIT == 0 ? P::STEPS : min(P::STEPS, P::ALL_STEPS - rank * P::STEPS)) {}

    __device__ unsigned char* stage(int step) const { return stages + step % P::STAGES * P::STAGE_BYTES; }

    // Begins to load a step, if there is one; in any case a group of copies.
    __device__ void load(int step) const {
        if (step < steps) {
            for (int at = 16 * threadIdx.x; at < P::STAGE_BYTES; at += 16 * kThreads)
                copy_async(stage(step) + at, source + static_cast<int64_t>(step) * P::STAGE_BYTES + at);
        }
        commit_copies();
    }
};

// Runs a warp's 16 pixels and its half of the hidden channels through both layers. In a thread, `sums` and all else are
// of pixels `row` and `row + 8`, channels 16 k + 4 part .. + 3 for every k.
template <class P>
__device__ inline void two_layers(const __half* mixed, const Ring<P>& ring, const float* biases, int rank,
                                  float (&sums)[2 * P::G][4]) {
    constexpr int G = P::G;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row_warp = warp % kRowWarps, hidden_warp = warp / kRowWarps;
    const int row = 16 * row_warp + lane / 4, part = lane % 4;
    uint32_t a[G][4];
#pragma unroll
    for (int k = 0; k < G; ++k) {
        const uint2 upper = *reinterpret_cast<const uint2*>(mixed + row * P::PITCH + 16 * k + 4 * part);
        const uint2 lower = *reinterpret_cast<const uint2*>(mixed + (row + 8) * P::PITCH + 16 * k + 4 * part);
        a[k][0] = upper.x, a[k][1] = lower.x, a[k][2] = upper.y, a[k][3] = lower.y;
    }
#pragma unroll
    for (int i = 0; i < 2 * G; ++i) sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0.0f;

    float h[4][4];
    const float* const bias = biases + rank * P::STEPS * kStepHidden + 32 * hidden_warp + 2 * part;
    auto begin = [&](int i, int step) {
        const float2 b = __ldg(reinterpret_cast<const float2*>(bias + step * kStepHidden + 8 * i));
        h[i][0] = h[i][2] = b.x, h[i][1] = h[i][3] = b.y;
    };
    constexpr bool AHEAD = P::RESIDENT <= 2;  // else there are no registers for the next step's biases
    for (int step = 0; step < ring.steps; ++step) {
        if (!AHEAD || step == 0) {
#pragma unroll
            for (int i = 0; i < 4; ++i) begin(i, step);
        }
        wait_copies<P::STAGES - 1>();
        __syncthreads();
        const uint4* const chunk = reinterpret_cast<const uint4*>(ring.stage(step)) + hidden_warp * 4 * G * 32 + lane;
#pragma unroll
        for (int k = 0; k < G; ++k) {
            const uint4 first = chunk[k * 32], second = chunk[(2 * G + k) * 32];
            multiply(h[0], a[k], first.x, first.y);
            multiply(h[1], a[k], first.z, first.w);
            multiply(h[2], a[k], second.x, second.y);
            multiply(h[3], a[k], second.z, second.w);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) h[i][j] = folded_gelu(h[i][j]);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const uint32_t hidden[4] = {
                as_halves(h[2 * half][0], h[2 * half][1]), as_halves(h[2 * half][2], h[2 * half][3]),
                as_halves(h[2 * half + 1][0], h[2 * half + 1][1]), as_halves(h[2 * half + 1][2], h[2 * half + 1][3])};
            if (AHEAD && step + 1 < ring.steps) begin(2 * half, step + 1), begin(2 * half + 1, step + 1);
#pragma unroll
            for (int k = 0; k < G; ++k) {
                const uint4 b = chunk[((2 * half + 1) * G + k) * 32];
                multiply(sums[2 * k], hidden, b.x, b.y);
                multiply(sums[2 * k + 1], hidden, b.z, b.w);
            }
        }
        if (P::STEPS > P::STAGES) {
            __syncthreads();
            ring.load(step + P::STAGES);
        } else {
            commit_copies();
        }
    }
}

// Adds up what all warps of a group have, the second layer's biases and x, and writes it. `x` and `out` are of one
// image. `exchanged` and `pushed_here` are shared memory of EXCHANGE_BYTES and PUSHED_BYTES; no block of the group may
// still use its own of the latter for something else.
template <class P>
__device__ inline void add_up(const float (&sums)[2 * P::G][4], void* exchanged, void* pushed_here,
                              const float* biases, const __half* x, __half* out, int top, int left, int height,
                              int width, int rank) {
    constexpr int C = P::C, G = P::G, SPLIT = P::SPLIT;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row_warp = warp % kRowWarps, hidden_warp = warp / kRowWarps;
    const int row = 16 * row_warp + lane / 4, part = lane % 4;

    // What is added to the result, fetched while the sums are exchanged: 4 channels of one pixel for each of OWN groups.
    constexpr int OWN = G / SPLIT;
    const int pixel = row + 8 * hidden_warp;
    const int pixel_y = top + pixel / kTile, pixel_x = left + pixel % kTile;
    const bool inside = pixel_y < height && pixel_x < width;
    const int64_t at = (static_cast<int64_t>(pixel_y) * width + pixel_x) * C + 16 * OWN * rank + 4 * part;
    auto there = [&](int k) { return inside && (C % 16 == 0 || 16 * (OWN * rank + k) + 4 * part < C); };
    const float* const second = biases + P::ALL_STEPS * kStepHidden;
    uint2 before[OWN];
    float4 bias[OWN];
#pragma unroll
    for (int k = 0; k < OWN; ++k) {
        before[k] = there(k) ? *reinterpret_cast<const uint2*>(x + at + 16 * k) : make_uint2(0, 0);
        bias[k] = __ldg(reinterpret_cast<const float4*>(second + 16 * (OWN * rank + k) + 4 * part));
    }

    // A warp has 16 pixels and half of the hidden channels: it gives away its sums of 8 pixels for those of the others.
    __syncthreads();
    float4* const exchange = static_cast<float4*>(exchanged);
    auto slot = [&](int of, int k) { return (of * G + k) * 32 + lane; };
#pragma unroll
    for (int k = 0; k < G; ++k)
        exchange[slot(warp, k)] = hidden_warp == 0
            ? make_float4(sums[2 * k][2], sums[2 * k][3], sums[2 * k + 1][2], sums[2 * k + 1][3])
            : make_float4(sums[2 * k][0], sums[2 * k][1], sums[2 * k + 1][0], sums[2 * k + 1][1]);
    __syncthreads();
    float4 sum[G];
#pragma unroll
    for (int k = 0; k < G; ++k) {
        sum[k] = exchange[slot((warp + kRowWarps) % (kRowWarps * kHiddenWarps), k)];
        sum[k].x += hidden_warp == 0 ? sums[2 * k][0] : sums[2 * k][2];
        sum[k].y += hidden_warp == 0 ? sums[2 * k][1] : sums[2 * k][3];
        sum[k].z += hidden_warp == 0 ? sums[2 * k + 1][0] : sums[2 * k + 1][2];
        sum[k].w += hidden_warp == 0 ? sums[2 * k + 1][1] : sums[2 * k + 1][3];
    }
    auto finish = [&](int k, float4 value) {
        if (!there(k)) return;
        const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&before[k].x));
        const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&before[k].y));
        *reinterpret_cast<uint2*>(out + at + 16 * k) =
            make_uint2(as_halves(value.x + bias[k].x + low.x, value.y + bias[k].y + low.y),
                       as_halves(value.z + bias[k].z + high.x, value.w + bias[k].w + high.y));
    };
#if __CUDA_ARCH__ >= 900
    if constexpr (SPLIT > 1) {  // each block of the group ends with a share of the channels
        namespace cg = cooperative_groups;
        float4* const pushed = static_cast<float4*>(pushed_here);
        auto place = [&](int from, int i) { return ((from * (kThreads / 32) + warp) * OWN + i) * 32 + lane; };
        float4 own[OWN];
#pragma unroll
        for (int owner = 0; owner < SPLIT; ++owner) {
            float4* const to = cg::this_cluster().map_shared_rank(pushed, owner);
            const int from = (rank - owner + SPLIT) % SPLIT - 1;
#pragma unroll
            for (int i = 0; i < OWN; ++i) {
                if (owner == rank)
                    own[i] = sum[owner * OWN + i];
                else
                    to[place(from, i)] = sum[owner * OWN + i];
            }
        }
        cg::this_cluster().sync();
#pragma unroll
        for (int i = 0; i < OWN; ++i) {
#pragma unroll
            for (int from = 0; from < SPLIT - 1; ++from) {
                const float4 value = pushed[place(from, i)];
                own[i].x += value.x, own[i].y += value.y, own[i].z += value.z, own[i].w += value.w;
            }
            finish(i, own[i]);
        }
        return;
    }
#endif
#pragma unroll
    for (int k = 0; k < G; ++k) finish(k, sum[k]);
}

// What a kernel takes: x, the weights of what mixes neighbours, both layers', their biases, out, height, width.
template <class Mixing>
using Kernel = void (*)(const __half*, const Mixing*, const __half*, const float*, __half*, int, int);

template <class P, class Mixing>
cudaError_t launch(Kernel<Mixing> kernel, const void* x, const void* mixing, const void* weights, const void* biases,
                   void* out, int batch, int height, int width, bool hopper, cudaStream_t stream) {
    if (cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, P::SHARED_BYTES))
        return error;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((width + kTile - 1) / kTile * P::SPLIT, (height + kTile - 1) / kTile, batch);
    config.blockDim = dim3(kThreads);
    config.dynamicSmemBytes = P::SHARED_BYTES;
    config.stream = stream;
    cudaLaunchAttribute attributes[2] = {};
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim.x = P::SPLIT;
    attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
    config.attrs = attributes;
    config.numAttrs = !hopper ? 0 : P::SPLIT > 1 ? 2 : 1;
    return cudaLaunchKernelEx(&config, kernel, static_cast<const __half*>(x), static_cast<const Mixing*>(mixing),
                              static_cast<const __half*>(weights), static_cast<const float*>(biases),
                              static_cast<__half*>(out), height, width);
}

// Says whether the GPU has clusters, and kernels that begin before the last one ended.
inline cudaError_t is_hopper(bool* hopper) {
    int device = 0, major = 0;
    if (cudaError_t error = cudaGetDevice(&device)) return error;
    if (cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device)) return error;
    *hopper = major >= 9;
    return cudaSuccess;
}

}  // namespace litestereo
