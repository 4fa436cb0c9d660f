// Machines that read text: rows of couplings added for tokens, the output spin, n-gram fields.
//
// No thread adds to what another one adds to: every result gathers its terms, in the order of the
// positions. Positions are listed once by the token before them, so that a statistic visits its
// own alone. Bytes per element: gather 4 n + 8 of the table's cache, scatter 4 per listed position,
// output 16, n-gram rows 8 per order and colour. Memory bounds all.
#include "text.cuh"

#define THREADS 256
#define COLOURS 256  // at most
#define PER_LANE (COLOURS / 32)

__device__ __forceinline__ u32 here() { return blockIdx.x * THREADS + threadIdx.x; }
__device__ __forceinline__ u32 stride() { return gridDim.x * THREADS; }

// out (size, width) += table[d, x[t - 1 - d]] for d = 0, 1, ...; table (n, q, width)
extern "C" __global__ void __launch_bounds__(THREADS)
    gather(const u8* __restrict__ x, const i64* __restrict__ starts, u32 length, u32 size, u32 n,
           u32 q, u32 width, const float* __restrict__ table, float* __restrict__ out) {
    for (u32 e = here(); e < size * width; e += stride()) {
        const u32 b = e / width;
        const u8* before = x + position(starts, length, b) - 1;
        const float* column = table + e % width;
        float sum = out[e];
        for (u32 d = 0; d < n; ++d) sum += column[(u64)(d * q + *(before - d)) * width];
        out[e] = sum;
    }
}

// order (n, size): the positions b in the order of x[t - 1 - d], equal ones as they come; those of
// token c are first[d, c] .. first[d, c + 1] - 1, first (n, q + 1). A block for every d, a thread
// for every colour.
extern "C" __global__ void __launch_bounds__(THREADS)
    positions_by_token(const u8* __restrict__ x, const i64* __restrict__ starts, u32 length,
                       u32 size, u32 q, u32* __restrict__ order, u32* __restrict__ first) {
    __shared__ u8 seen[THREADS];
    __shared__ u32 counts[COLOURS];
    const u32 d = blockIdx.x, c = threadIdx.x;
    u32 count = 0, at = 0;
    for (u32 pass = 0; pass < 2; ++pass) {
        for (u32 tile = 0; tile < size; tile += THREADS) {
            const u32 mine = tile + threadIdx.x, n = min(size - tile, (u32)THREADS);
            __syncthreads();
            if (mine < size) seen[threadIdx.x] = x[position(starts, length, mine) - 1 - d];
            __syncthreads();
            if (c >= q) continue;
            for (u32 i = 0; i < n; ++i) {
                if (seen[i] != c) continue;
                if (pass) order[(u64)d * size + at++] = tile + i;
                count += !pass;
            }
        }
        if (pass) break;
        counts[c] = count;
        __syncthreads();
        for (u32 i = 0; i < c; ++i) at += counts[i];
        if (c < q) first[d * (q + 1) + c] = at;
        if (c == q - 1) first[d * (q + 1) + q] = at + count;
    }
}

// out[d, c] += sum of values[b] over the listed positions b of token c, d = 0 .. n - 1; row b of
// `values` begins at b * pitch + d * shift
extern "C" __global__ void __launch_bounds__(THREADS)
    scatter(u32 size, u32 n, u32 q, u32 width, u32 pitch, u32 shift,
            const u32* __restrict__ order, const u32* __restrict__ first,
            const float* __restrict__ values, float* __restrict__ out) {
    for (u32 e = here(); e < n * q * width; e += stride()) {
        const u32 row = e / width, d = row / q, c = row % q;
        const u32* list = order + (u64)d * size;
        const u32 end = first[d * (q + 1) + c + 1];
        const float* column = values + (u64)d * shift + e % width;
        float sum = out[e];
        for (u32 i = first[d * (q + 1) + c]; i < end; ++i) sum += column[(u64)list[i] * pitch];
        out[e] = sum;
    }
}

// g (size, q) becomes delta - p, p the heat bath of the output spin; loss = -log p(x_t). A warp
// for every position.
extern "C" __global__ void __launch_bounds__(THREADS)
    output(const u8* __restrict__ x, const i64* __restrict__ starts, u32 length, u32 size, u32 q,
           float* __restrict__ g, float* __restrict__ loss) {
    const u32 lane = threadIdx.x % 32;
    for (u32 b = here() / 32; b < size; b += stride() / 32) {
        float* row = g + (u64)b * q;
        const u32 y = x[position(starts, length, b)];
        const float field = row[y];
        float top = row[0], total = 0.0f;
        for (u32 c = lane; c < q; c += 32) top = fmaxf(top, row[c]);
        top = warp_max(top);
        for (u32 c = lane; c < q; c += 32) {
            const float e = exp_below(row[c] - top);
            row[c] = e;
            total += e;
        }
        total = warp_sum(total);
        const float scale = -1.0f / total;
        for (u32 c = lane; c < q; c += 32) row[c] = fmaf(row[c], scale, c == y ? 1.0f : 0.0f);
        if (lane == 0) loss[b] = logf(total) - (field - top);
    }
}

// out (columns, bins) += sum of the values of column k whose state is s, in double precision and
// in the order of the rows; states and values (size, columns), a state below 0 counts nowhere
extern "C" __global__ void __launch_bounds__(THREADS)
    tally(u32 size, u32 columns, u32 bins, const short* __restrict__ states,
          const float* __restrict__ values, float* __restrict__ out) {
    for (u32 e = here(); e < columns * bins; e += stride()) {
        const u32 k = e / bins;
        const int s = (int)(e % bins);
        double sum = 0.0;
        for (u32 b = 0; b < size; ++b)
            if (states[(u64)b * columns + k] == s) sum += (double)values[(u64)b * columns + k];
        out[e] = (float)((double)out[e] + sum);
    }
}

// Class of a weight: 0 for none, then one for every factor of 2^(2/3) in v = 1 + weight. With
// v = 2^k m the class is 1 + floor(3 k / 2 + 3 log2(m) / 2): half a class more where k is odd.
__device__ __forceinline__ int evidence(float weight, int classes) {
    if (weight <= 0.0f) return 0;
    const int bits = __float_as_int(1.0f + weight), k = (bits >> 23) - 127;
    const float m = __int_as_float((bits & 0x7fffff) | 0x3f800000);
    const int more = m >= (k & 1 ? 1.259921049894873f : 1.587401051968199f);
    return 1 + min(classes - 2, 3 * k / 2 + more);
}

// out (size, q) += sum over k of gains[k, s] (table[row] - part[mine]), rows and parts (size,
// orders); s = (class of the evidence left, class of the next order's) is kept in states, -1 where
// there is no row. A warp for every position.
extern "C" __global__ void __launch_bounds__(THREADS)
    ngram_fields(u32 size, u32 orders, u32 q, int classes, const int* __restrict__ rows,
                 const int* __restrict__ parts, const float* __restrict__ table,
                 const float* __restrict__ part, const float* __restrict__ weights,
                 const float* __restrict__ part_weights, const float* __restrict__ gains,
                 float* __restrict__ out, short* __restrict__ states) {
    const u32 lane = threadIdx.x % 32;
    for (u32 b = here() / 32; b < size; b += stride() / 32) {
        int above = 0;
        for (u32 k = orders; k--;) {
            const u32 at = b * orders + k;
            const int row = rows[at], mine = parts[at];
            int s = 0, state = -1;
            if (row >= 0) {
                const float own = mine >= 0 ? part_weights[mine] : 0.0f;
                s = evidence(weights[row] - own, classes);
                state = s * classes + above;
            }
            if (lane == 0) states[at] = (short)state;
            if (s == 0) continue;
            const float gain = gains[(k * classes + s) * classes + above];
            above = s;
            for (u32 y = lane; y < q; y += 32) {
                const float own = mine >= 0 ? part[(u64)mine * q + y] : 0.0f;
                float* to = out + (u64)b * q + y;
                *to = fmaf(gain, table[(u64)row * q + y] - own, *to);
            }
        }
    }
}

// Rows move by their own error e: weight += |e|^2, row += rate / sqrt(weight + 0.1) e - decay part.
// keys: row << 32 | entry of (size, orders), sorted; the warp of the first key of a row makes its
// visits in their order. overlaps = e . (table - part) of entries that have evidence, else 0.
extern "C" __global__ void __launch_bounds__(THREADS)
    ngram_learn(u32 entries, u32 orders, u32 q, int classes, float rate, float decay,
                const i64* __restrict__ keys, const int* __restrict__ parts,
                const short* __restrict__ states, const float* __restrict__ errors,
                float* __restrict__ table, float* __restrict__ part, float* __restrict__ weights,
                float* __restrict__ part_weights, float* __restrict__ overlaps) {
    const u32 lane = threadIdx.x % 32;
    for (u32 first = here() / 32; first < entries; first += stride() / 32) {
        const i64 row = keys[first] >> 32;
        if (first && keys[first - 1] >> 32 == row) continue;
        float whole[PER_LANE], e[PER_LANE], weight = row < 0 ? 0.0f : weights[row];
#pragma unroll
        for (u32 i = 0; i < PER_LANE; ++i) {
            const u32 y = lane + 32 * i;
            whole[i] = row >= 0 && y < q ? table[row * q + y] : 0.0f;
        }
        for (u32 at = first; at < entries && keys[at] >> 32 == row; ++at) {
            const u32 entry = (u32)keys[at];
            if (row < 0) {
                if (lane == 0) overlaps[entry] = 0.0f;
                continue;
            }
            const float* error = errors + (u64)(entry / orders) * q;
            float* own = part + (u64)parts[entry] * q;
            float size = 0.0f, overlap = 0.0f;
#pragma unroll
            for (u32 i = 0; i < PER_LANE; ++i) {
                const u32 y = lane + 32 * i;
                e[i] = y < q ? error[y] : 0.0f;
                size = fmaf(e[i], e[i], size);
                if (y < q) overlap = fmaf(e[i], whole[i] - own[y], overlap);
            }
            size = warp_sum(size);
            overlap = warp_sum(overlap);
            weight += size;
            if (lane == 0) {
                overlaps[entry] = states[entry] >= classes ? overlap : 0.0f;
                part_weights[parts[entry]] += size;
            }
            const float step = rate / sqrtf(weight + 0.1f);
#pragma unroll
            for (u32 i = 0; i < PER_LANE; ++i) {
                const u32 y = lane + 32 * i;
                if (y >= q) continue;
                const float change = fmaf(step, e[i], -(decay * own[y]));
                own[y] += change;
                whole[i] += change;
            }
        }
        if (row < 0) continue;
        if (lane == 0) weights[row] = weight;
#pragma unroll
        for (u32 i = 0; i < PER_LANE; ++i)
            if (lane + 32 * i < q) table[row * q + lane + 32 * i] = whole[i];
    }
}
