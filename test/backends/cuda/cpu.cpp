// The kernel of letterbox.cu on a CPU: the same source, one "thread" after the other.
struct Index {
    unsigned x, y;
};
static Index blockIdx, blockDim, threadIdx;
#define __device__
#define __global__
#include "letterbox.cu"

extern "C" void run_letterbox(const Job* job, const unsigned* grid, const unsigned* block)
{
    blockDim = {block[0], block[1]};
    for (blockIdx.y = 0; blockIdx.y < grid[1]; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid[0]; ++blockIdx.x)
            for (threadIdx.y = 0; threadIdx.y < block[1]; ++threadIdx.y)
                for (threadIdx.x = 0; threadIdx.x < block[0]; ++threadIdx.x)
                    letterbox(*job);
}
