// One FasterNet block (arXiv 2303.03667) in one kernel: 3x3 on a quarter of the channels, two pixelwise layers with
// GELU, sum.
//
// The 3x3 is a product on the tensor cores, too: 64 pixels by 9 times a quarter of the channels. Each thread block of a
// group computes all of it, so that none has to wait for another. The rest is that of `pixelwise.cuh`.
//
// The order of the 3x3's weights is that of `fasternet.py`, `pack_mixing`.
#pragma once

#include "pixelwise.cuh"

namespace litestereo {

// EARLY: stages whose weights are loaded before x is complete. LATE: those that hold the 3x3's input first.
template <int CHANNELS, int EXPANSION, int SPLIT_, int STAGES_, int EARLY_, int RESIDENT_ = 1, int LATE_ = 0>
struct FasterNetPlan : Layers<CHANNELS, EXPANSION, SPLIT_, STAGES_, RESIDENT_> {
    using Base = Layers<CHANNELS, EXPANSION, SPLIT_, STAGES_, RESIDENT_>;
    using Base::C, Base::STAGES;
    static constexpr int EARLY = EARLY_, LATE = LATE_;
    static constexpr int QUARTER = C / 4;                       // channels that are mixed
    static constexpr int WIDTH = kTile + 2;                     // of the pixels that they are mixed from
    static constexpr int FOURS = (QUARTER + 3) / 4;             // of channels, for each of 9 taps
    static constexpr int ROUNDS = (9 * FOURS + 3) / 4;          // of four fours, a product's depth
    static constexpr int COLUMNS = (QUARTER + 7) / 8;           // of 8 channels, a product's width
    static constexpr int INPUT_PITCH = 16 * ((QUARTER + 15) / 16 | 1);  // no two rows on one bank
    static constexpr int INPUT_BYTES = WIDTH * WIDTH * INPUT_PITCH * 2;
    static constexpr int MIXING_BYTES = ROUNDS * COLUMNS * 32 * 4 * 2;
    static constexpr int SCRATCH_BYTES = Base::PUSHED_BYTES > MIXING_BYTES ? Base::PUSHED_BYTES : MIXING_BYTES;
    static constexpr int INPUT_AT =
        LATE > 0 ? (STAGES - LATE) * Base::STAGE_BYTES : Base::RING_BYTES + Base::MIXED_BYTES + SCRATCH_BYTES;
    static constexpr int SHARED_BYTES =
        Base::RING_BYTES + Base::MIXED_BYTES + SCRATCH_BYTES + (LATE > 0 ? 0 : INPUT_BYTES);
    static_assert(EARLY + LATE <= STAGES && (LATE == 0 || INPUT_BYTES <= LATE * Base::STAGE_BYTES));
};

// The 3x3 of a warp's 16 pixels to its half of the columns, into the first quarter of what goes into the layers.
template <class P>
__device__ inline void mix(const __half* input, const uint2* weights, __half* mixed) {
    constexpr int EACH = (P::COLUMNS + kHiddenWarps - 1) / kHiddenWarps;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int row_warp = warp % kRowWarps, first = warp / kRowWarps * EACH;
    const int row = 16 * row_warp + lane / 4, part = lane % 4;  // the pixel above `row + 8`
    const __half* const corner = input + (row / kTile * P::WIDTH + row % kTile) * P::INPUT_PITCH;
    float sums[EACH][4] = {};
#pragma unroll
    for (int round = 0; round < P::ROUNDS; ++round) {
        unsigned four = 4 * round + part;
        if (4 * round + 3 >= 9 * P::FOURS) four = min(four, 9u * P::FOURS - 1);  // behind the last, weights are 0
        const unsigned tap = four / P::FOURS;
        const __half* const at =
            corner + (tap / 3 * P::WIDTH + tap % 3) * P::INPUT_PITCH + 4 * (four % P::FOURS);
        const uint2 upper = *reinterpret_cast<const uint2*>(at);
        const uint2 lower = *reinterpret_cast<const uint2*>(at + P::WIDTH * P::INPUT_PITCH);
        const uint32_t a[4] = {upper.x, lower.x, upper.y, lower.y};
#pragma unroll
        for (int i = 0; i < EACH; ++i) {
            if (P::COLUMNS % kHiddenWarps != 0 && first + i >= P::COLUMNS) break;
            const uint2 b = weights[(round * P::COLUMNS + first + i) * 32 + lane];
            multiply(sums[i], a, b.x, b.y);
        }
    }
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const int channel = 8 * (first + i) + 2 * part;
        if (channel >= P::QUARTER) continue;
        __half* const to = mixed + row * P::PITCH + channel;
        *reinterpret_cast<uint32_t*>(to) = as_halves(sums[i][0], sums[i][1]);
        *reinterpret_cast<uint32_t*>(to + 8 * P::PITCH) = as_halves(sums[i][2], sums[i][3]);
    }
}

// x, out: (batch, height, width, C) half. mixing, weights: packed, half. biases: (hidden channels + C) float, both
// rounded up, of the first and the second layer.
template <class P>
__global__ void __launch_bounds__(kThreads, P::RESIDENT)
    fasternet_block_kernel(const __half* __restrict__ x, const __half* __restrict__ mixing,
                           const __half* __restrict__ weights, const float* __restrict__ biases,
                           __half* __restrict__ out, int height, int width) {
    constexpr int C = P::C, SPLIT = P::SPLIT;
    extern __shared__ __align__(128) unsigned char shared[];
    __half* const mixed = reinterpret_cast<__half*>(shared + P::RING_BYTES);
    unsigned char* const scratch = shared + P::RING_BYTES + P::MIXED_BYTES;  // the 3x3's weights, then what is pushed
    __half* const input = reinterpret_cast<__half*>(shared + P::INPUT_AT);

    const int rank = SPLIT > 1 ? blockIdx.x % SPLIT : 0;
    const int left = blockIdx.x / SPLIT * kTile, top = blockIdx.y * kTile;
    const int64_t image = static_cast<int64_t>(blockIdx.z) * height * width * C;

    const Ring<P> ring(shared, weights, rank);
    for (int at = 16 * threadIdx.x; at < P::MIXING_BYTES; at += 16 * kThreads)
        copy_async(scratch + at, reinterpret_cast<const unsigned char*>(mixing) + at);
#pragma unroll
    for (int step = 0; step < P::EARLY; ++step) ring.load(step);
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");      // the next kernel may begin with its weights,
    asm volatile("griddepcontrol.wait;" ::: "memory");      // and here x is complete
#endif
    load_window<C, P::WIDTH, P::WIDTH, 0, P::COLUMNS, P::INPUT_PITCH>(input, x + image, top - 1, left - 1, height,
                                                                      width);
    load_window<C, kTile, kTile, P::QUARTER / 8, 2 * P::G, P::PITCH>(mixed, x + image, top, left, height, width);
    commit_copies();
#pragma unroll
    for (int step = P::EARLY; step < P::STAGES - P::LATE; ++step) ring.load(step);

    wait_copies<P::STAGES - P::LATE - P::EARLY>();
    __syncthreads();
    mix<P>(input, reinterpret_cast<const uint2*>(scratch), mixed);
    __syncthreads();
#pragma unroll
    for (int step = P::STAGES - P::LATE; step < P::STAGES; ++step) ring.load(step);
#if __CUDA_ARCH__ >= 900
    namespace cg = cooperative_groups;
    if constexpr (SPLIT > 1) cg::this_cluster().barrier_arrive();
#endif

    float sums[2 * P::G][4];
    two_layers<P>(mixed, ring, biases, rank, sums);
#if __CUDA_ARCH__ >= 900
    if constexpr (SPLIT > 1) cg::this_cluster().barrier_wait();  // nobody writes where another still reads weights
#endif
    add_up<P>(sums, shared, scratch, biases, x + image, out + image, top, left, height, width, rank);
}

// Returns cudaErrorNotSupported for channels that no network of ours has. Inside a block are 4 times as many of 48, 96
// and 192, twice as many of 40, 80 and 160.
inline cudaError_t fasternet_block(int channels, const void* x, const void* mixing, const void* weights,
                                   const void* biases, void* out, int batch, int height, int width,
                                   cudaStream_t stream) {
    bool hopper = false;
    if (cudaError_t error = is_hopper(&hopper)) return error;
    const auto run = [&](auto plan) {
        using P = decltype(plan);
        return launch<P>(fasternet_block_kernel<P>, x, mixing, weights, biases, out, batch, height, width, hopper,
                         stream);
    };
    if (channels == 48)
        return hopper ? run(FasterNetPlan<48, 4, 1, 3, 3, 4>()) : run(FasterNetPlan<48, 4, 1, 3, 1, 3>());
    if (channels == 96)
        return hopper ? run(FasterNetPlan<96, 4, 1, 6, 2>()) : run(FasterNetPlan<96, 4, 1, 4, 1>());
    if (channels == 192)
        return hopper ? run(FasterNetPlan<192, 4, 4, 3, 1>()) : run(FasterNetPlan<192, 4, 1, 2, 1, 1, 1>());
    if (channels == 40) return run(FasterNetPlan<40, 2, 1, 2, 1, 3>());
    if (channels == 80) return run(FasterNetPlan<80, 2, 1, 3, 1, 2>());
    if (channels == 160)
        return hopper ? run(FasterNetPlan<160, 2, 2, 3, 1>()) : run(FasterNetPlan<160, 2, 1, 2, 1>());
    return cudaErrorNotSupported;
}

}  // namespace litestereo
