extern "C" __global__ void kernel(const integer *__restrict__ in0, integer *__restrict__ out0, integer *__restrict__ out1, void *partial2, integer n0, integer n1, integer cells) {
    const integer rows = n0 * n1;
    Min<integer> total2;
    for (integer place = blockIdx.x * integer(blockDim.x) + threadIdx.x; place < rows * cells; place += integer(gridDim.x) * blockDim.x) {
        const integer row = place / cells, cell = place % cells;
        const integer v0 = in0[row * cells + cell];
        const integer v2 = cell;
        const integer v4 = integer((unsigned long long)v0 + (unsigned long long)v2);
        const integer v3 = (row % n1);
        const integer v5 = integer((unsigned long long)v4 - (unsigned long long)v3);
        const integer v1 = integer(3ll);
        const integer v6 = quotient(v5, v1);
        const integer v7 = modulo(v5, v1);
        const integer v8 = power(v7, v1);
        const integer v9 = least(v6, v8);
        out0[row * cells + cell] = v9;
        const integer v10 = sign_of(v9);
        out1[row * cells + cell] = v10;
        total2.add(v9);
    }
    of_block(total2, partial2);
}
extern "C" __global__ void totals(const void *partial2, integer *out2, integer blocks) {
    total<Min<integer>>(partial2, blocks, out2);
}
