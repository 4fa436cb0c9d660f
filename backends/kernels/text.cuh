// What kernels of machines that read text share: positions.
#pragma once
#include "softmax.cuh"

// A batch: position b = run * length + i is t = starts[run] + i of the tokens x.
__device__ __forceinline__ i64 position(const i64* starts, u32 length, u32 b) {
    return starts[b / length] + b % length;
}
