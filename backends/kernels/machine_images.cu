// Images and receptive fields of machines that learn: float32, channels fastest.
//
// Every thread makes elements of the result, of image blockIdx.y, blockIdx.y + gridDim.y, ...:
// what is added up is gathered in the order in which the cpu backend scatters it, so that windows,
// their transpose and winners have the same bits. Within an image all indices have 32 bits.
// Bytes per element: warp 24 from cache and memory, windows 8, add_windows 4 (field / stride)^2 + 4,
// winners 21 per winner, scatter_winners 5 to 9. Memory bounds all.
#include "portable.cuh"

#define THREADS 256

__device__ __forceinline__ u32 here() { return blockIdx.x * THREADS + threadIdx.x; }
__device__ __forceinline__ u32 stride() { return gridDim.x * THREADS; }

// Pixel (row - 1, column - 1) of an image with zeros around.
__device__ __forceinline__ float framed(const float* image, u32 row, u32 column, u32 height,
                                        u32 width) {
    const u32 y = row - 1, x = column - 1;
    return y < height && x < width ? image[y * width + x] : 0.0f;
}

// out[i] = images[rows[i]] at A (r - centre) + t + centre, bilinear, minus mean; maps (n, 6)
extern "C" __global__ void __launch_bounds__(THREADS)
    warp(u32 n, u32 height, u32 width, const float* __restrict__ images,
         const i64* __restrict__ rows, const float* __restrict__ maps,
         const float* __restrict__ mean, float* __restrict__ out) {
    const float mid_y = 0.5f * (float)(height - 1), mid_x = 0.5f * (float)(width - 1);
    for (u32 i = blockIdx.y; i < n; i += gridDim.y) {
        const float* image = images + rows[i] * height * width;
        const float* map = maps + 6 * (u64)i;
        for (u32 p = here(); p < height * width; p += stride()) {
            const float dy = (float)(p / width) - mid_y, dx = (float)(p % width) - mid_x;
            const float y = fmaf(map[0], dy, fmaf(map[1], dx, map[2] + mid_y));
            const float x = fmaf(map[3], dy, fmaf(map[4], dx, map[5] + mid_x));
            const float v = fmaxf(-1.0f, fminf((float)height, y)) + 1.0f;
            const float u = fmaxf(-1.0f, fminf((float)width, x)) + 1.0f;
            const u32 row = (u32)v, column = (u32)u;
            const float fv = v - (float)row, fu = u - (float)column;
            const float p00 = framed(image, row, column, height, width);
            const float p01 = framed(image, row, column + 1, height, width);
            const float p10 = framed(image, row + 1, column, height, width);
            const float p11 = framed(image, row + 1, column + 1, height, width);
            const float upper = fmaf(fu, p01 - p00, p00), lower = fmaf(fu, p11 - p10, p10);
            out[(u64)i * height * width + p] = fmaf(fv, lower - upper, upper) - mean[p];
        }
    }
}

// out (n, lattice_y, lattice_x, field, field, channels) = what every site sees of image rows[i]
extern "C" __global__ void __launch_bounds__(THREADS)
    windows(u32 n, u32 height, u32 width, u32 channels, u32 field, u32 step, u32 lattice_y,
            u32 lattice_x, const float* __restrict__ states, const i64* __restrict__ rows,
            float* __restrict__ out) {
    const u32 run = field * channels, line = width * channels;
    const u32 size = lattice_y * lattice_x * field * run;
    for (u32 i = blockIdx.y; i < n; i += gridDim.y) {
        const float* image = states + rows[i] * height * line;
        float* to = out + (u64)i * size;
        for (u32 at = here(); at < size; at += stride()) {
            const u32 down = at / run, site = down / field;
            const u32 y = site / lattice_x * step + down % field;
            to[at] = image[y * line + site % lattice_x * step * channels + at % run];
        }
    }
}

// First and one past the last site whose window holds place p.
__device__ __forceinline__ u32 first_site(u32 p, u32 field, u32 step) {
    return p < field ? 0 : (p - field) / step + 1;
}
__device__ __forceinline__ u32 past_site(u32 p, u32 step, u32 sites) {
    return min(p / step + 1, sites);
}

// The transpose: out (n, height, width, channels), every patch added to its place
extern "C" __global__ void __launch_bounds__(THREADS)
    add_windows(u32 n, u32 height, u32 width, u32 channels, u32 field, u32 step, u32 lattice_y,
                u32 lattice_x, const float* __restrict__ patches, float* __restrict__ out) {
    const u32 size = height * width * channels, run = field * channels;
    for (u32 i = blockIdx.y; i < n; i += gridDim.y) {
        const float* from = patches + (u64)i * lattice_y * lattice_x * field * run;
        for (u32 p = here(); p < size; p += stride()) {
            const u32 c = p % channels, y = p / channels / width, x = p / channels % width;
            const u32 top = first_site(y, field, step), bottom = past_site(y, step, lattice_y);
            const u32 left = first_site(x, field, step), right = past_site(x, step, lattice_x);
            float sum = 0.0f;
            for (u32 a = top; a < bottom; ++a)
                for (u32 b = left; b < right; ++b) {
                    const u32 down = (a * lattice_x + b) * field + y - a * step;
                    sum += from[down * run + (x - b * step) * channels + c];
                }
            out[(u64)i * size + p] = sum;
        }
    }
}

// The largest of every 2 x 2 sites and its place, 2 row + column; the first of equal ones
extern "C" __global__ void __launch_bounds__(THREADS)
    winners(u32 n, u32 height, u32 width, u32 channels, const float* __restrict__ fields,
            float* __restrict__ largest, u8* __restrict__ index) {
    const u32 line = width * channels, row = width / 2 * channels, size = height / 2 * row;
    for (u32 i = blockIdx.y; i < n; i += gridDim.y)
        for (u32 p = here(); p < size; p += stride()) {
            const u32 column = p % row, first = column / channels * 2 * channels;
            const float* at = fields + (u64)i * height * line + p / row * 2 * line + first +
                              column % channels;
            const float f0 = at[0], f1 = at[channels], f2 = at[line], f3 = at[line + channels];
            const float upper = fmaxf(f0, f1), lower = fmaxf(f2, f3);
            largest[(u64)i * size + p] = fmaxf(upper, lower);
            index[(u64)i * size + p] = lower > upper ? (f3 > f2 ? 3 : 2) : (f1 > f0 ? 1 : 0);
        }
}

// The transpose: out (n, height, width, channels) = values where a site won, zero elsewhere
extern "C" __global__ void __launch_bounds__(THREADS)
    scatter_winners(u32 n, u32 height, u32 width, u32 channels, const float* __restrict__ values,
                    const u8* __restrict__ index, float* __restrict__ out) {
    const u32 size = height * width * channels, rows = height / 2, columns = width / 2;
    for (u32 i = blockIdx.y; i < n; i += gridDim.y)
        for (u32 p = here(); p < size; p += stride()) {
            const u32 c = p % channels, y = p / channels / width, x = p / channels % width;
            const bool pooled = y / 2 < rows && x / 2 < columns;
            const u64 at = (((u64)i * rows + y / 2) * columns + x / 2) * channels + c;
            const bool won = pooled && index[at] == 2 * (y % 2) + x % 2;
            out[(u64)i * size + p] = won ? values[at] : 0.0f;
        }
}
