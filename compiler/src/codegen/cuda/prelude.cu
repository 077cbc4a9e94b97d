// What every kernel below reads: numbers as the language has them, and reductions that join in a fixed order.
typedef long long integer;
#ifndef INFINITY
#define INFINITY __longlong_as_double(0x7ff0000000000000ll)
#define NAN __longlong_as_double(0x7ff8000000000000ll)
#endif

__device__ inline real sign_of(real x) { return real(x > 0) - real(x < 0); }
__device__ inline integer sign_of(integer x) { return integer(x > 0) - integer(x < 0); }
// The first of equals; what is not a number wins.
template <class T> __device__ inline T least(T a, T b) { return a <= b || a != a ? a : b; }
template <class T> __device__ inline T greatest(T a, T b) { return a >= b || a != a ? a : b; }
__device__ inline real sigmoid(real x) {
    real small = exp(-fabs(x));
    return x >= 0 ? 1 / (1 + small) : small / (1 + small);
}
__device__ inline real log_sigmoid(real x) { return least(x, real(0)) - log1p(exp(-fabs(x))); }
__device__ inline real modulo(real a, real b) {
    real remainder = fmod(a, b);
    return remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder;
}
// Integers wrap around; a quotient by 0 is 0, as on the CPU.
__device__ inline integer quotient(integer a, integer b) {
    if (b == 0) return 0;
    if (b == -1) return integer(0ull - (unsigned long long)a);
    integer whole = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? whole - 1 : whole;
}
__device__ inline integer modulo(integer a, integer b) {
    return integer((unsigned long long)a - (unsigned long long)quotient(a, b) * (unsigned long long)b);
}
__device__ inline integer power(integer a, integer b) {
    unsigned long long result = 1, base = a;
    for (; b > 0; b >>= 1, base *= base)
        if (b & 1) result *= base;
    return integer(result);
}

template <class T> struct Sum {
    T value_ = 0;
    __device__ void add(T x) { value_ += x; }
    __device__ void join(Sum other) { value_ += other.value_; }
    __device__ T value() { return value_; }
};
struct Mean {
    double sum = 0;
    integer count = 0;
    __device__ void add(double x) { sum += x; count += 1; }
    __device__ void join(Mean other) { sum += other.sum; count += other.count; }
    __device__ double value() { return count == 0 ? 0 : sum / count; }
};
template <class T> struct Product {
    T value_ = 1;
    __device__ void add(T x) { value_ *= x; }
    __device__ void join(Product other) { value_ *= other.value_; }
    __device__ T value() { return value_; }
};
template <class T> struct Max {
    T value_ = 0;
    integer any = 0;
    __device__ void add(T x) { value_ = any ? greatest(value_, x) : x; any = 1; }
    __device__ void join(Max other) { if (other.any) add(other.value_); }
    __device__ T value() { return value_; }
};
template <class T> struct Min {
    T value_ = 0;
    integer any = 0;
    __device__ void add(T x) { value_ = any ? least(value_, x) : x; any = 1; }
    __device__ void join(Min other) { if (other.any) add(other.value_); }
    __device__ T value() { return value_; }
};
// Scaled by the largest so far.
struct LogSumExp {
    double largest = -INFINITY, sum = 0;
    __device__ void join(LogSumExp other) {
        double both = other.largest != other.largest || other.largest > largest ? other.largest : largest;
        if (isinf(both)) { sum = 1; largest = both; return; }
        sum = sum * exp(largest - both) + other.sum * exp(other.largest - both);
        largest = both;
    }
    __device__ void add(double x) { LogSumExp one; one.largest = x; one.sum = 1; join(one); }
    __device__ double value() { return isinf(largest) ? largest : largest + log(sum); }
};
struct Any {
    int value_ = 0;
    __device__ void add(bool x) { value_ |= x; }
    __device__ void join(Any other) { value_ |= other.value_; }
    __device__ bool value() { return value_; }
};
struct All {
    int value_ = 1;
    __device__ void add(bool x) { value_ &= x; }
    __device__ void join(All other) { value_ &= other.value_; }
    __device__ bool value() { return value_; }
};

const int WARP = 32;

// The reductions of a warp's lanes as one, in every lane.
template <class R> __device__ R of_warp(R mine) {
    static_assert(sizeof(R) % 4 == 0, "lanes exchange words");
    for (int distance = 1; distance < WARP; distance *= 2) {
        R other;
        for (int word = 0; word < int(sizeof(R) / 4); word += 1)
            reinterpret_cast<int *>(&other)[word] = __shfl_xor_sync(~0u, reinterpret_cast<int *>(&mine)[word], distance);
        // The lower lane first, so that both compute the same.
        if (threadIdx.x & distance) { other.join(mine); mine = other; } else mine.join(other);
    }
    return mine;
}

// The reductions of a block's threads as one, left for `total` to join with those of the other blocks.
template <class R> __device__ void of_block(R mine, void *partial) {
    __shared__ char memory[WARP * sizeof(R)];
    R *warps = reinterpret_cast<R *>(memory);
    mine = of_warp(mine);
    __syncthreads();
    if (threadIdx.x % WARP == 0) warps[threadIdx.x / WARP] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < int(blockDim.x) / WARP; warp += 1) mine.join(warps[warp]);
        reinterpret_cast<R *>(partial)[blockIdx.x] = mine;
    }
}

template <class R, class T> __device__ void total(const void *partial, integer blocks, T *result) {
    R all;
    for (integer block = 0; block < blocks; block += 1) all.join(reinterpret_cast<const R *>(partial)[block]);
    *result = T(all.value());
}
