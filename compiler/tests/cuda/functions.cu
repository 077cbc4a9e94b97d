extern "C" __global__ void kernel(const real *__restrict__ in0, real *__restrict__ out0, real *__restrict__ out1, real *__restrict__ out2, real *__restrict__ out3, real *__restrict__ out4, real *__restrict__ out5, real *__restrict__ out6, real *__restrict__ out7, real *__restrict__ out8, real *__restrict__ out9, real *__restrict__ out10, real *__restrict__ out11, real *__restrict__ out12, real *__restrict__ out13, real *__restrict__ out14, real *__restrict__ out15, real *__restrict__ out16, real *__restrict__ out17, integer n0, integer n1, integer cells) {
    const integer rows = n0 * n1;
    for (integer place = blockIdx.x * integer(blockDim.x) + threadIdx.x; place < rows * cells; place += integer(gridDim.x) * blockDim.x) {
        const integer row = place / cells, cell = place % cells;
        const real v0 = in0[row];
        const real v1 = -v0;
        out0[row] = v1;
        const real v2 = fabs(v0);
        out1[row] = v2;
        const real v3 = sign_of(v0);
        out2[row] = v3;
        const real v4 = exp(v0);
        out3[row] = v4;
        const real v5 = expm1(v0);
        out4[row] = v5;
        const real v6 = log1p(v0);
        out5[row] = v6;
        const real v7 = sin(v0);
        out6[row] = v7;
        const real v8 = cos(v0);
        out7[row] = v8;
        const real v9 = tan(v0);
        out8[row] = v9;
        const real v10 = atan(v0);
        out9[row] = v10;
        const real v11 = tanh(v0);
        out10[row] = v11;
        const real v12 = sigmoid(v0);
        out11[row] = v12;
        const real v13 = log_sigmoid(v0);
        out12[row] = v13;
        const real v14 = floor(v0);
        out13[row] = v14;
        const real v15 = ceil(v0);
        out14[row] = v15;
        const real v16 = rint(v0);
        out15[row] = v16;
        const real v17 = sqrt(v0);
        out16[row] = v17;
        const real v18 = log(v0);
        out17[row] = v18;
    }
}
