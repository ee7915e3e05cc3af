// The end of a network in two kernels: soft-argmax over the cost volume, then convex upsampling, whose weights come from
// a transposed convolution. Nothing of full size exists but the answers. All sums are in float.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "tensor_cores.cuh"

namespace litestereo {

constexpr int kLevels = 48;       // of the cost volume, at a quarter of the size
constexpr int kFeatures = 16;     // of what the transposed convolution reads, at half the size
constexpr int kNeighbours = 9;    // that a pixel's disparity is a mean of
constexpr float kLeastVariance = 1e-6f;
constexpr int kHeadThreads = 256;

// cost: (pixels, 48) half. disparity: 4 x the expectation, in pixels of full size; confidence: 1 / (1 + deviation).
__global__ void __launch_bounds__(128) soft_argmax_kernel(const uint4* __restrict__ cost, float* __restrict__ disparity,
                                                          float* __restrict__ confidence, int pixels) {
    const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= pixels) return;
    float score[kLevels];
    float most = -INFINITY;
#pragma unroll
    for (int i = 0; i < kLevels / 8; ++i) {
        const uint4 raw = __ldg(cost + static_cast<int64_t>(pixel) * (kLevels / 8) + i);
        const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[j]));
            score[8 * i + 2 * j] = pair.x;
            score[8 * i + 2 * j + 1] = pair.y;
            most = fmaxf(most, fmaxf(pair.x, pair.y));
        }
    }
    float total = 0.0f, mean = 0.0f, variance = 0.0f;
#pragma unroll
    for (int k = 0; k < kLevels; ++k) {
        score[k] = __expf(score[k] - most);
        total += score[k];
        mean = fmaf(score[k], static_cast<float>(k), mean);
    }
    mean /= total;
#pragma unroll
    for (int k = 0; k < kLevels; ++k) variance = fmaf(score[k], (k - mean) * (k - mean), variance);
    disparity[pixel] = 4.0f * mean;
    confidence[pixel] = 1.0f / (1.0f + sqrtf(fmaxf(variance / total, kLeastVariance)));
}

// A warp takes 16 pixels of half size in a row, which are 32x2 of full size: four products, one for each place of a
// full pixel within its half one, of the 2x2 half pixels that the 4x4 kernel with stride 2 reaches from there.
__global__ void __launch_bounds__(kHeadThreads)
    upsample_kernel(const __half* __restrict__ features, const uint4* __restrict__ weights,
                    const float* __restrict__ quarter, const float* __restrict__ quarter_confidence,
                    float* __restrict__ disparity, float* __restrict__ confidence, int height, int width) {
    const int lane = threadIdx.x % 32, row = lane / 4, part = lane % 4;
    const int tiles = (width / 2 + 15) / 16;
    const int task = blockIdx.x * (kHeadThreads / 32) + threadIdx.x / 32;
    const int half_height = height / 2, half_width = width / 2, quarter_height = height / 4, quarter_width = width / 4;
    const int j = task / tiles, i0 = task % tiles * 16;
    if (j >= half_height) return;
    features += static_cast<int64_t>(blockIdx.y) * half_height * half_width * kFeatures;
    const int64_t image = static_cast<int64_t>(blockIdx.y) * height * width;
    const int64_t quarter_image = static_cast<int64_t>(blockIdx.y) * quarter_height * quarter_width;
    quarter += quarter_image;
    quarter_confidence += quarter_image;

    uint2 around[3][3][2];
#pragma unroll
    for (int dy = 0; dy < 3; ++dy)
#pragma unroll
        for (int dx = 0; dx < 3; ++dx)
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const int y = j + dy - 1, x = i0 + row + 8 * r + dx - 1;
                const bool there = y >= 0 && y < half_height && x >= 0 && x < half_width;
                around[dy][dx][r] =
                    there ? *reinterpret_cast<const uint2*>(
                                features + (static_cast<int64_t>(y) * half_width + x) * kFeatures + 4 * part)
                          : make_uint2(0, 0);
            }
    // Of a pixel's nine neighbours a thread knows 2 part and 2 part + 1, the first of four also the last.
    float near[2][3];
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
        for (int n = 0; n < 3; ++n) {
            const int k = n < 2 ? 2 * part + n : kNeighbours - 1;
            const int y = j / 2 + k / 3 - 1, x = (i0 + row + 8 * r) / 2 + k % 3 - 1;
            const bool there = y >= 0 && y < quarter_height && x >= 0 && x < quarter_width;
            near[r][n] = there ? __ldg(quarter + y * quarter_width + x) : 0.0f;
        }
#pragma unroll
    for (int ry = 0; ry < 2; ++ry) {
        float found[2][2];
#pragma unroll
        for (int rx = 0; rx < 2; ++rx) {
            float logits[2][4] = {};
#pragma unroll
            for (int step = 0; step < 4; ++step) {
                // From an even place the half pixel itself and the one before are reached, from an odd one that after.
                const int dy = step / 2 == 0 ? 1 : 2 * ry, dx = step % 2 == 0 ? 1 : 2 * rx;
                const uint2 upper = around[dy][dx][0], lower = around[dy][dx][1];
                const uint32_t a[4] = {upper.x, lower.x, upper.y, lower.y};
                const uint4 b = __ldg(weights + ((2 * ry + rx) * 4 + step) * 32 + lane);
                multiply(logits[0], a, b.x, b.y);
                multiply(logits[1], a, b.z, b.w);
            }
#pragma unroll
            for (int r = 0; r < 2; ++r) {
                const float first = logits[0][2 * r], second = logits[0][2 * r + 1];
                const float last = part == 0 ? logits[1][2 * r] : -INFINITY;
                const float most = max_of_four(fmaxf(fmaxf(first, second), last));
                const float p = __expf(first - most), q = __expf(second - most), s = __expf(last - most);
                const float total = sum_of<4>(p + q + s);
                found[rx][r] = sum_of<4>(p * near[r][0] + q * near[r][1] + s * near[r][2]) / total;
            }
        }
        // Each thread of four writes one of the four values that all of them have.
        const int x = 2 * (i0 + row + 8 * (part / 2)) + part % 2, y = 2 * j + ry;
        if (x >= width) continue;
        const float value = part == 0 ? found[0][0] : part == 1 ? found[1][0] : part == 2 ? found[0][1] : found[1][1];
        const int64_t at = image + static_cast<int64_t>(y) * width + x;
        disparity[at] = value;
        const float from_y = fmaxf((y + 0.5f) / 4.0f - 0.5f, 0.0f), from_x = fmaxf((x + 0.5f) / 4.0f - 0.5f, 0.0f);
        const int y0 = static_cast<int>(from_y), x0 = static_cast<int>(from_x);
        const int y1 = min(y0 + 1, quarter_height - 1), x1 = min(x0 + 1, quarter_width - 1);
        const float wy = from_y - y0, wx = from_x - x0;
        const float* const upper = quarter_confidence + y0 * quarter_width;
        const float* const lower = quarter_confidence + y1 * quarter_width;
        const float above = __ldg(upper + x0) * (1.0f - wx) + __ldg(upper + x1) * wx;
        const float below = __ldg(lower + x0) * (1.0f - wx) + __ldg(lower + x1) * wx;
        confidence[at] = above * (1.0f - wy) + below * wy;
    }
}

inline size_t head_workspace_bytes(int batch, int height, int width) {
    return static_cast<size_t>(batch) * (height / 4) * (width / 4) * 2 * sizeof(float);
}

// cost: (batch, height / 4, width / 4, 48) half. features: (batch, height / 2, width / 2, 16) half. weights: packed,
// half, see `head.py`. disparity, confidence: (batch, height, width) float.
inline cudaError_t disparity_head(const void* cost, const void* features, const void* weights, void* disparity,
                                  void* confidence, void* workspace, int batch, int height, int width,
                                  cudaStream_t stream) {
    const int pixels = batch * (height / 4) * (width / 4);
    float* const quarter = static_cast<float*>(workspace);
    soft_argmax_kernel<<<(pixels + 127) / 128, 128, 0, stream>>>(static_cast<const uint4*>(cost), quarter,
                                                                quarter + pixels, pixels);
    const int tasks = (width / 2 + 15) / 16 * (height / 2), warps = kHeadThreads / 32;
    upsample_kernel<<<dim3((tasks + warps - 1) / warps, batch), kHeadThreads, 0, stream>>>(
        static_cast<const __half*>(features), static_cast<const uint4*>(weights), quarter, quarter + pixels,
        static_cast<float*>(disparity), static_cast<float*>(confidence), height, width);
    return cudaGetLastError();
}

}  // namespace litestereo
