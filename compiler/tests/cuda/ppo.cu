extern "C" __global__ void kernel(const real *__restrict__ in0, const real *__restrict__ in1, const real *__restrict__ in2, const bool *__restrict__ in3, const real *__restrict__ in4, real *__restrict__ out0, void *partial1, void *partial2, void *partial3, integer n0, integer n1, integer cells) {
    const integer rows = n0 * n1;
    Mean total1;
    Max<double> total2;
    Sum<integer> total3;
    for (integer place = blockIdx.x * integer(blockDim.x) + threadIdx.x; place < rows * cells; place += integer(gridDim.x) * blockDim.x) {
        const integer row = place / cells, cell = place % cells;
        const bool v3 = in3[row * cells + cell];
        const real v0 = in0[row * cells + cell];
        const real v1 = in1[row * cells + cell];
        const real v7 = v0 - v1;
        const real v8 = exp(v7);
        const real v2 = in2[row];
        const real v11 = v8 * v2;
        const real v5 = real(0.8);
        const real v9 = greatest(v8, v5);
        const real v6 = real(1.2);
        const real v10 = least(v9, v6);
        const real v12 = v10 * v2;
        const bool v15 = v11 <= v12;
        const real v17 = -v11;
        const real v4 = in4[0];
        const real v18 = v17 * v4;
        const real v16 = real(0.0);
        const real v19 = v15 ? v18 : v16;
        const real v20 = v3 ? v19 : v16;
        out0[row * cells + cell] = v20;
        const real v13 = least(v11, v12);
        const real v14 = -v13;
        if (v3) total1.add(v14);
        if (v3) total2.add(v8);
        if (v3) total3.add(1);
    }
    of_block(total1, partial1);
    of_block(total2, partial2);
    of_block(total3, partial3);
}
extern "C" __global__ void totals(const void *partial1, const void *partial2, const void *partial3, real *out1, real *out2, integer *out3, integer blocks) {
    total<Mean>(partial1, blocks, out1);
    total<Max<double>>(partial2, blocks, out2);
    total<Sum<integer>>(partial3, blocks, out3);
}
