extern "C" __global__ void kernel(const real *__restrict__ in0, const bool *__restrict__ in1, const real *__restrict__ in2, real *__restrict__ out0, real *__restrict__ kept0, integer n0, integer n1, integer cells) {
    const integer rows = n0 * n1;
    const integer lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    for (integer row = blockIdx.x * warps + threadIdx.x / WARP; row < rows; row += gridDim.x * warps) {
        const real v3 = real(0.0);
        const real v2 = in2[0];
        if (lane == 0) {
            real carry0 = v3;
            for (integer along = 0; along < cells; along += 1) {
                const integer cell = cells - 1 - along;
                const real v0 = in0[row * cells + cell];
                const bool v1 = in1[row * cells + cell];
                const real v7 = carry0;
                const real v8 = v7 * v2;
                const real v9 = v0 + v8;
                const real next0 = v9;
                if (v1) carry0 = next0;
                kept0[row * cells + cell] = carry0;
            }
        }
        __syncwarp();
        __syncwarp();
        for (integer cell = lane; cell < cells; cell += WARP) {
            const real v4 = kept0[row * cells + cell];
            const real v5 = cell - 1 >= 0 && cell - 1 < cells ? kept0[row * cells + cell - 1] : v3;
            const real v6 = v4 - v5;
            out0[row * cells + cell] = v6;
        }
    }
}
