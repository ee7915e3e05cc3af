// One ConvNeXt block (arXiv 2201.03545) in one kernel: depthwise 7x7, LayerNorm, two pixelwise layers with GELU, sum.
//
// Each thread block of a group computes the depthwise convolution and the norm of its share of the pixels, and all get
// all of it. The rest is that of `pixelwise.cuh`.
#pragma once

#include "pixelwise.cuh"

namespace litestereo {

constexpr float kEpsilon = 1e-6f;

template <int CHANNELS, int SPLIT_, int STAGES_, int PASS_, int RESIDENT_ = 1>
struct ConvNeXtPlan : Layers<CHANNELS, 4, SPLIT_, STAGES_, RESIDENT_> {
    using Base = Layers<CHANNELS, 4, SPLIT_, STAGES_, RESIDENT_>;
    using Base::C, Base::STAGES, Base::STAGE_BYTES;
    static constexpr int SHARE = kPixels / SPLIT_;              // pixels whose norm one thread block computes,
    static constexpr int PASS = PASS_;                          // so many at a time
    static constexpr int ROWS = PASS / kTile + 6;               // of the input that a pass needs
    static constexpr int INPUT_BYTES = ROWS * (kTile + 6) * C * 2;
    static constexpr int AHEAD = STAGES - (INPUT_BYTES + STAGE_BYTES - 1) / STAGE_BYTES;  // stages beside the input
    static constexpr int CONVOLVED_PITCH = C + 4;
    static constexpr int CONVOLVED_BYTES = PASS * CONVOLVED_PITCH * 4;
    static constexpr int SCRATCH_BYTES = Base::PUSHED_BYTES > CONVOLVED_BYTES ? Base::PUSHED_BYTES : CONVOLVED_BYTES;
    static constexpr int SHARED_BYTES = Base::RING_BYTES + Base::MIXED_BYTES + SCRATCH_BYTES;
    static_assert(SHARE % PASS == 0 && PASS % kTile == 0 && AHEAD >= 0 && C % (kThreads / PASS * 4) == 0);
};

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
    constexpr int C = P::C, SPLIT = P::SPLIT;
    extern __shared__ __align__(128) unsigned char shared[];
    __half* const input = reinterpret_cast<__half*>(shared + P::AHEAD * P::STAGE_BYTES);
    __half* const normed = reinterpret_cast<__half*>(shared + P::RING_BYTES);
    float* const convolved = reinterpret_cast<float*>(shared + P::RING_BYTES + P::MIXED_BYTES);

    const int thread = threadIdx.x;
    const int rank = SPLIT > 1 ? blockIdx.x % SPLIT : 0;
    const int left = blockIdx.x / SPLIT * kTile, top = blockIdx.y * kTile;
    const int64_t image = static_cast<int64_t>(blockIdx.z) * height * width * C;

    const Ring<P> ring(shared, weights, rank);
    auto load_input = [&](int first) {  // the rows around the pixels from `first` on
        load_window<C, P::ROWS, kTile + 6, 0, C / 8, C>(input, x + image, top + first / kTile - 3, left - 3, height,
                                                        width);
        commit_copies();
    };
#pragma unroll
    for (int step = 0; step < P::AHEAD; ++step) ring.load(step);
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
            for (int step = P::AHEAD; step < P::STAGES; ++step) ring.load(step);
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

    float sums[2 * P::G][4];
    two_layers<P>(normed, ring, biases, rank, sums);
    add_up<P>(sums, shared, convolved, biases, x + image, out + image, top, left, height, width, rank);
}

// Returns cudaErrorNotSupported for channels that no network of ours has.
inline cudaError_t convnext_block(int channels, const void* x, const void* taps, const void* weights,
                                  const void* biases, void* out, int batch, int height, int width,
                                  cudaStream_t stream) {
    bool hopper = false;
    if (cudaError_t error = is_hopper(&hopper)) return error;
    const auto run = [&](auto plan) {
        using P = decltype(plan);
        return launch<P>(convnext_block_kernel<P>, x, taps, weights, biases, out, batch, height, width, hopper, stream);
    };
    if (channels == 48) return run(ConvNeXtPlan<48, 1, 3, 64, 4>());
    if (channels == 96) return run(ConvNeXtPlan<96, 1, 4, 64>());
    if (channels == 192) return hopper ? run(ConvNeXtPlan<192, 4, 3, 16>()) : run(ConvNeXtPlan<192, 1, 2, 32>());
    return cudaErrorNotSupported;
}

}  // namespace litestereo
