extern "C" __global__ void kernel(const real *__restrict__ in0, const bool *__restrict__ in1, real *__restrict__ out0, real *__restrict__ out1, void *partial2, integer n0, integer cells) {
    const integer rows = n0;
    Sum<double> total2;
    const integer lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    for (integer row = blockIdx.x * warps + threadIdx.x / WARP; row < rows; row += gridDim.x * warps) {
        LogSumExp r2;
        for (integer cell = lane; cell < cells; cell += WARP) {
            const real v0 = in0[row * cells + cell];
            const bool v1 = in1[row * cells + cell];
            if (v1) r2.add(v0);
        }
        const real v2 = of_warp(r2).value();
        __syncwarp();
        Mean r4;
        for (integer cell = lane; cell < cells; cell += WARP) {
            const real v0 = in0[row * cells + cell];
            const real v3 = v0 - v2;
            const bool v1 = in1[row * cells + cell];
            if (v1) r4.add(v3);
        }
        const real v4 = of_warp(r4).value();
        __syncwarp();
        for (integer cell = lane; cell < cells; cell += WARP) {
            const real v0 = in0[row * cells + cell];
            const real v3 = v0 - v2;
            const real v5 = v3 - v4;
            out0[row * cells + cell] = v5;
        }
        if (lane == 0) {
            out1[row] = v4;
            total2.add(v4);
        }
    }
    of_block(total2, partial2);
}
extern "C" __global__ void totals(const void *partial2, real *out2, integer blocks) {
    total<Sum<double>>(partial2, blocks, out2);
}
