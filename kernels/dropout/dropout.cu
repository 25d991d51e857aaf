// y = mask * scale * x, in groups of 8 elements, one call of Philox each. Backward is the same of dy.
#include "numeric.cuh"
#include "dropout/philox.cuh"

template <typename T>
__global__ void dropout(T* y_ptr, const T* x_ptr, const long long* seed_ptr, long long size, long long threshold,
                        double scale) {
    using A = wide<T>;
    const Philox philox(seed_ptr);
    const int groups = (size + 7) / 8, full = size / 8;
    for (int group = blockIdx.x * blockDim.x + threadIdx.x; group < groups; group += gridDim.x * blockDim.x) {
        const int i = group * 8, tail = static_cast<int>(size) - i;
        A x[8] = {};
        if (group < full) {
            load<8>(x_ptr + i, x);
        } else {
#pragma unroll
            for (int j = 0; j < 8; ++j) x[j] = j < tail ? load(x_ptr + i + j) : A(0);
        }
        philox.drop(i, static_cast<unsigned>(threshold), static_cast<A>(scale), x);
        if (group < full) {
            store<8>(y_ptr + i, x);
        } else {
#pragma unroll
            for (int j = 0; j < 8; ++j)
                if (j < tail) store(y_ptr + i + j, x[j]);
        }
    }
}
