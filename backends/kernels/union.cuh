// Clusters as a forest: parent holds for each site one of its cluster, never a larger one, so that
// roots are the smallest sites whatever the order of the joins.
#pragma once
#include "portable.cuh"

// The root of a site's tree now; other threads may be joining.
__device__ __forceinline__ u32 find(const u32* parent, u32 site) {
    for (;;) {
        const u32 above = *(const volatile u32*)(parent + site);
        if (above == site) return site;
        site = above;
    }
}

// Put two sites into one cluster. Where another thread was first, atomicMin gives the link that it
// replaced, which then is joined too: Playne, Hawick, IEEE Trans. Parallel Distrib. Syst. 29, 1217
// (2018).
__device__ inline void join(u32* parent, u32 a, u32 b) {
    for (;;) {
        a = find(parent, a);
        b = find(parent, b);
        if (a == b) return;
        const u32 high = max(a, b), low = min(a, b), old = atomicMin(parent + high, low);
        if (old == high) return;
        a = old;
        b = low;
    }
}
