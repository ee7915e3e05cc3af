// One ConvNeXt block (arXiv 2201.03545) in one kernel: depthwise 7x7, LayerNorm, two pixelwise layers with GELU, sum.
//
// A group of SPLIT thread blocks (a cluster from sm_90 on; alone before) owns 8x8 pixels. Each computes the depthwise
// convolution and the norm of its share of the pixels, and all get all of it; each then runs its share of the hidden
// channels through both layers on the tensor cores, and they add up what came out. Hidden values never leave the
// registers: what the first product leaves in a thread is what the second wants there.
//
// The order of the weights is that of `blocks.py`, `pack_pixelwise`.
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
constexpr float kEpsilon = 1e-6f;

template <int CHANNELS, int SPLIT_, int STAGES_, int PASS_, int RESIDENT_ = 1>
struct Plan {
    static constexpr int C = CHANNELS, SPLIT = SPLIT_, STAGES = STAGES_, RESIDENT = RESIDENT_;
    static constexpr int SHARE = kPixels / SPLIT;               // pixels whose norm one thread block computes,
    static constexpr int PASS = PASS_;                          // so many at a time
    static constexpr int G = C / 16;                            // groups of 16 channels
    static constexpr int HIDDEN = 4 * C / SPLIT;                // of one thread block
    static constexpr int STEPS = HIDDEN / kStepHidden;
    static constexpr int STAGE_BYTES = kStepHidden * C * 2 * 2;  // both layers' weights of one step, half
    static constexpr int ROWS = PASS / kTile + 6;               // of the input that a pass needs
    static constexpr int INPUT_BYTES = ROWS * (kTile + 6) * C * 2;
    static constexpr int AHEAD = STAGES - (INPUT_BYTES + STAGE_BYTES - 1) / STAGE_BYTES;  // stages beside the input
    static constexpr int PITCH = C == 48 ? C : C + 16;          // of a normalised pixel: no two rows on one bank
    static constexpr int CONVOLVED_PITCH = C + 4;
    static constexpr int RING_BYTES = STAGES * STAGE_BYTES;
    static constexpr int EXCHANGE_BYTES = kThreads * G * 16;
    static constexpr int PUSHED_BYTES = (SPLIT - 1) * kPixels * C / SPLIT * 4;
    static constexpr int CONVOLVED_BYTES = PASS * CONVOLVED_PITCH * 4;
    static constexpr int SCRATCH_BYTES = PUSHED_BYTES > CONVOLVED_BYTES ? PUSHED_BYTES : CONVOLVED_BYTES;
    static constexpr int SHARED_BYTES = RING_BYTES + kPixels * PITCH * 2 + SCRATCH_BYTES;
    static_assert(HIDDEN % kStepHidden == 0 && G % SPLIT == 0 && SHARE % PASS == 0 && PASS % kTile == 0);
    static_assert(AHEAD >= 0 && EXCHANGE_BYTES <= RING_BYTES && C % (kThreads / PASS * 4) == 0);
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

// The depthwise 7x7 of 8 pixels in a row, two channels a thread.
template <int C, int PITCH>
__device__ inline void depthwise_row(const __half2* input, const float2* taps, int pair, float2* out) {
    constexpr int N = C / 2, WIDTH = kTile + 6;
    float2 sum[kTile];
    const float2 bias = __ldg(taps + 49 * N + pair);
#pragma unroll
    for (int i = 0; i < kTile; ++i) sum[i] = bias;
#pragma unroll
    for (int ky = 0; ky < 7; ++ky) {
        float2 tap[7];
#pragma unroll
        for (int kx = 0; kx < 7; ++kx) tap[kx] = __ldg(taps + (ky * 7 + kx) * N + pair);
#pragma unroll
        for (int j = 0; j < WIDTH; ++j) {
            const float2 value = __half22float2(input[(ky * WIDTH + j) * N + pair]);
#pragma unroll
            for (int kx = 0; kx < 7; ++kx) {
                const int i = j - kx;
                if (i < 0 || i >= kTile) continue;
                sum[i].x = fmaf(value.x, tap[kx].x, sum[i].x);
                sum[i].y = fmaf(value.y, tap[kx].y, sum[i].y);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < kTile; ++i) out[i * (PITCH / 2) + pair] = sum[i];
}

// x, out: (batch, height, width, C) half. taps: (50, C) float, 49 of the kernel and the bias. weights: packed, half.
// biases: (4 C + C) float, of the first and the second layer.
template <class P>
__global__ void __launch_bounds__(kThreads, P::RESIDENT)
    convnext_block_kernel(const __half* __restrict__ x, const float* __restrict__ taps,
                          const __half* __restrict__ weights, const float* __restrict__ biases,
                          __half* __restrict__ out, int height, int width) {
    constexpr int C = P::C, G = P::G, SPLIT = P::SPLIT;
    extern __shared__ __align__(128) unsigned char shared[];
    unsigned char* const ring = shared;
    unsigned char* const input = ring + P::AHEAD * P::STAGE_BYTES;
    __half* const normed = reinterpret_cast<__half*>(shared + P::RING_BYTES);
    float* const convolved = reinterpret_cast<float*>(shared + P::RING_BYTES + kPixels * P::PITCH * 2);

    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int rank = SPLIT > 1 ? blockIdx.x % SPLIT : 0;
    const int left = blockIdx.x / SPLIT * kTile, top = blockIdx.y * kTile;
    const int64_t image = static_cast<int64_t>(blockIdx.z) * height * width * C;

    const unsigned char* const source =
        reinterpret_cast<const unsigned char*>(weights) + static_cast<int64_t>(rank) * P::STEPS * P::STAGE_BYTES;
    auto load = [&](int step) {
        if (step < P::STEPS) {
            unsigned char* const stage = ring + step % P::STAGES * P::STAGE_BYTES;
            for (int at = 16 * thread; at < P::STAGE_BYTES; at += 16 * kThreads)
                copy_async(stage + at, source + static_cast<int64_t>(step) * P::STAGE_BYTES + at);
        }
        commit_copies();
    };
    auto load_input = [&](int first) {  // the rows around the pixels from `first` on, with zeros outside of the image
        constexpr int WIDTH = kTile + 6, PIECES = C / 8;
        for (int piece = thread; piece < P::ROWS * WIDTH * PIECES; piece += kThreads) {
            const int pixel = piece / PIECES, y = top + first / kTile + pixel / WIDTH - 3, x0 = left + pixel % WIDTH - 3;
            const bool there = y >= 0 && y < height && x0 >= 0 && x0 < width;
            const int64_t at = there ? (static_cast<int64_t>(y) * width + x0) * C + piece % PIECES * 8 : 0;
            copy_async_or_zero(input + piece * 16, x + image + at, there);
        }
        commit_copies();
    };
#pragma unroll
    for (int step = 0; step < P::AHEAD; ++step) load(step);
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");      // the next kernel may begin with its weights,
    asm volatile("griddepcontrol.wait;" ::: "memory");      // and here x is complete
#endif
    load_input(rank * P::SHARE);

#if __CUDA_ARCH__ >= 900
    namespace cg = cooperative_groups;
    if constexpr (SPLIT > 1) cg::this_cluster().barrier_arrive();
#endif

    // Depthwise convolution and norm of this block's pixels.
    for (int pass = 0; pass < P::SHARE; pass += P::PASS) {
        const int first = rank * P::SHARE + pass;
        if (pass > 0) load_input(first);
        wait_copies<0>();
        __syncthreads();
        for (int item = thread; item < P::PASS / kTile * (C / 2); item += kThreads) {
            const int pair = item % (C / 2), row = item / (C / 2);
            depthwise_row<C, P::CONVOLVED_PITCH>(
                reinterpret_cast<const __half2*>(input) + row * (kTile + 6) * (C / 2),
                reinterpret_cast<const float2*>(taps), pair,
                reinterpret_cast<float2*>(convolved) + row * kTile * (P::CONVOLVED_PITCH / 2));
        }
        __syncthreads();
        if (pass + P::PASS == P::SHARE) {
#pragma unroll
            for (int step = P::AHEAD; step < P::STAGES; ++step) load(step);
#if __CUDA_ARCH__ >= 900
            if constexpr (SPLIT > 1) cg::this_cluster().barrier_wait();  // nobody writes into a block that has not begun
#endif
        }
        constexpr int EACH = kThreads / P::PASS, N = C / EACH / 4;  // threads of a pixel, fours of channels of a thread
        const int pixel = thread / EACH, from = thread % EACH * N * 4;
        float4 value[N];
        float sum = 0.0f, square = 0.0f;
#pragma unroll
        for (int i = 0; i < N; ++i) {
            value[i] = *reinterpret_cast<const float4*>(convolved + pixel * P::CONVOLVED_PITCH + from + 4 * i);
            sum += value[i].x + value[i].y + value[i].z + value[i].w;
        }
        const float mean = sum_of<EACH>(sum) / C;
#pragma unroll
        for (int i = 0; i < N; ++i) {
            value[i].x -= mean, value[i].y -= mean, value[i].z -= mean, value[i].w -= mean;
            square += value[i].x * value[i].x + value[i].y * value[i].y + value[i].z * value[i].z +
                      value[i].w * value[i].w;
        }
        const float scale = rsqrtf(sum_of<EACH>(square) / C + kEpsilon);
#pragma unroll
        for (int i = 0; i < N; ++i) {
            const uint2 y = make_uint2(as_halves(value[i].x * scale, value[i].y * scale),
                                       as_halves(value[i].z * scale, value[i].w * scale));
            uint2* const to = reinterpret_cast<uint2*>(normed + (first + pixel) * P::PITCH + from + 4 * i);
            *to = y;
#if __CUDA_ARCH__ >= 900
            if constexpr (SPLIT > 1) {
#pragma unroll
                for (int other = 1; other < SPLIT; ++other)
                    *cg::this_cluster().map_shared_rank(to, (rank + other) % SPLIT) = y;
            }
#endif
        }
        if (pass + P::PASS < P::SHARE) __syncthreads();
    }
#if __CUDA_ARCH__ >= 900
    if constexpr (SPLIT > 1)
        cg::this_cluster().sync();
    else
#endif
        __syncthreads();

    // Both layers. In a thread: pixels `row` and `row + 8`, channels 16 k + 4 part .. + 3 for every k.
    const int row_warp = warp % kRowWarps, hidden_warp = warp / kRowWarps;
    const int row = 16 * row_warp + lane / 4, part = lane % 4;
    uint32_t a[G][4];
#pragma unroll
    for (int k = 0; k < G; ++k) {
        const uint2 upper = *reinterpret_cast<const uint2*>(normed + row * P::PITCH + 16 * k + 4 * part);
        const uint2 lower = *reinterpret_cast<const uint2*>(normed + (row + 8) * P::PITCH + 16 * k + 4 * part);
        a[k][0] = upper.x, a[k][1] = lower.x, a[k][2] = upper.y, a[k][3] = lower.y;
    }
    float sums[2 * G][4];
#pragma unroll
    for (int i = 0; i < 2 * G; ++i) sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = 0.0f;

    for (int step = 0; step < P::STEPS; ++step) {
        const float* const bias = biases + rank * P::HIDDEN + step * kStepHidden + 32 * hidden_warp;
        float h[4][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const float2 b = __ldg(reinterpret_cast<const float2*>(bias + 8 * i + 2 * part));
            h[i][0] = h[i][2] = b.x, h[i][1] = h[i][3] = b.y;
        }
        wait_copies<P::STAGES - 1>();
        __syncthreads();
        const uint4* const chunk =
            reinterpret_cast<const uint4*>(ring + step % P::STAGES * P::STAGE_BYTES) + hidden_warp * 4 * G * 32 + lane;
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
#pragma unroll
            for (int k = 0; k < G; ++k) {
                const uint4 b = chunk[((2 * half + 1) * G + k) * 32];
                multiply(sums[2 * k], hidden, b.x, b.y);
                multiply(sums[2 * k + 1], hidden, b.z, b.w);
            }
        }
        if (P::STEPS > P::STAGES) {
            __syncthreads();
            load(step + P::STAGES);
        } else {
            commit_copies();
        }
    }

    // What is added to the result, fetched while the sums are exchanged: 4 channels of one pixel for each of OWN groups.
    constexpr int OWN = G / SPLIT;
    const int pixel = row + 8 * hidden_warp;
    const int pixel_y = top + pixel / kTile, pixel_x = left + pixel % kTile;
    const bool inside = pixel_y < height && pixel_x < width;
    const int64_t at = image + (static_cast<int64_t>(pixel_y) * width + pixel_x) * C + 16 * OWN * rank + 4 * part;
    uint2 before[OWN];
    float4 bias[OWN];
#pragma unroll
    for (int k = 0; k < OWN; ++k) {
        before[k] = inside ? *reinterpret_cast<const uint2*>(x + at + 16 * k) : make_uint2(0, 0);
        bias[k] = __ldg(reinterpret_cast<const float4*>(biases + 4 * C + 16 * (OWN * rank + k) + 4 * part));
    }

    // A warp has 16 pixels and half of the hidden channels: it gives away its sums of 8 pixels for those of the others.
    __syncthreads();
    float4* const exchange = reinterpret_cast<float4*>(ring);
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
        if (!inside) return;
        const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&before[k].x));
        const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&before[k].y));
        *reinterpret_cast<uint2*>(out + at + 16 * k) =
            make_uint2(as_halves(value.x + bias[k].x + low.x, value.y + bias[k].y + low.y),
                       as_halves(value.z + bias[k].z + high.x, value.w + bias[k].w + high.y));
    };
#if __CUDA_ARCH__ >= 900
    if constexpr (SPLIT > 1) {  // each block of the group ends with a share of the channels
        float4* const pushed = reinterpret_cast<float4*>(convolved);
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

template <class P>
cudaError_t launch(const void* x, const void* taps, const void* weights, const void* biases, void* out, int batch,
                   int height, int width, bool hopper, cudaStream_t stream) {
    const auto kernel = convnext_block_kernel<P>;
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
    return cudaLaunchKernelEx(&config, kernel, static_cast<const __half*>(x), static_cast<const float*>(taps),
                              static_cast<const __half*>(weights), static_cast<const float*>(biases),
                              static_cast<__half*>(out), height, width);
}

// Returns cudaErrorNotSupported for channels that no network of ours has.
inline cudaError_t convnext_block(int channels, const void* x, const void* taps, const void* weights,
                                  const void* biases, void* out, int batch, int height, int width,
                                  cudaStream_t stream) {
    int device = 0, major = 0;
    if (cudaError_t error = cudaGetDevice(&device)) return error;
    if (cudaError_t error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device)) return error;
    const bool hopper = major >= 9;  // clusters, and kernels that begin before the last one ended
    const auto run = channels == 48    ? launch<Plan<48, 1, 3, 64, 4>>
                     : channels == 96  ? launch<Plan<96, 1, 4, 64, 1>>
                     : channels != 192 ? nullptr
                     : hopper          ? launch<Plan<192, 4, 3, 16, 1>>
                                       : launch<Plan<192, 1, 2, 32, 1>>;
    if (run == nullptr) return cudaErrorNotSupported;
    return run(x, taps, weights, biases, out, batch, height, width, hopper, stream);
}

}  // namespace litestereo
