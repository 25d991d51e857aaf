// What follows a matrix product, over rows of N columns, and its gradient.
//
//     forward   v = z + bias,  y = mask * scale * a(v)
//     backward  dz = g * mask * scale * a'(v),  dbias = the sum of dz over rows
//
// M rows, N columns; a: activation; mask, scale: dropout (see philox.cuh). a' is taken from v or from a(v) = y / scale,
// see from_input. A thread has VEC columns and every k-th row, so bias and the sums stay in registers. The sums of all
// threads, [P, N], are then added 32 at a time by column_sums: no atomics, the same order in every run.
#include "numeric.cuh"
#include "activation/activations.cuh"
#include "dropout/philox.cuh"

// z_ptr: the product; where it is not y_ptr it holds v afterwards. bias_ptr, seed_ptr: or null.
template <typename T, int VEC>
__global__ void epilogue_forward(T* y_ptr, T* z_ptr, const T* bias_ptr, const long long* seed_ptr, long long M,
                                 long long N, long long activation, long long threshold, double scale) {
    using A = wide<T>;
    const int n = (blockIdx.x * blockDim.x + threadIdx.x) * VEC, rows = M, columns = N, kind = activation;
    if (n >= columns) return;
    const Philox philox(seed_ptr);
    A bias[VEC] = {};
    if (bias_ptr) load<VEC>(bias_ptr + n, bias);
    for (int m = blockIdx.y * blockDim.y + threadIdx.y; m < rows; m += gridDim.y * blockDim.y) {
        const int i = m * columns + n;
        A v[VEC];
        load<VEC>(z_ptr + i, v);
#pragma unroll
        for (int j = 0; j < VEC; ++j) v[j] += bias[j];
        if (z_ptr != y_ptr && bias_ptr) store<VEC>(z_ptr + i, v);
        for_activation(kind, [&](auto name) {
#pragma unroll
            for (int j = 0; j < VEC; ++j) v[j] = activate(name.value, v[j]);
        });
        if (seed_ptr) philox.drop(i, static_cast<unsigned>(threshold), static_cast<A>(scale), v);
        store<VEC>(y_ptr + i, v);
    }
}

// v_ptr: v where from_input(activation), else y; null for linear. dz_ptr, sums_ptr [P, N], seed_ptr: or null.
// unscale: what v_ptr's elements are multiplied by first.
template <typename T, int VEC>
__global__ void epilogue_backward(T* dz_ptr, wide<T>* sums_ptr, const T* g_ptr, const T* v_ptr,
                                  const long long* seed_ptr, long long M, long long N, long long activation,
                                  long long threshold, double scale, double unscale) {
    using A = wide<T>;
    const int n = (blockIdx.x * blockDim.x + threadIdx.x) * VEC, rows = M, columns = N, kind = activation;
    if (n >= columns) return;
    const Philox philox(seed_ptr);
    const int first = blockIdx.y * blockDim.y + threadIdx.y;
    A sums[VEC] = {};
    for (int m = first; m < rows; m += gridDim.y * blockDim.y) {
        const int i = m * columns + n;
        A g[VEC];
        load<VEC>(g_ptr + i, g);
        if (seed_ptr) philox.drop(i, static_cast<unsigned>(threshold), static_cast<A>(scale), g);
        if (v_ptr) {
            A v[VEC];
            load<VEC>(v_ptr + i, v);
            for_activation(kind, [&](auto name) {
#pragma unroll
                for (int j = 0; j < VEC; ++j) g[j] *= derivative(name.value, v[j] * static_cast<A>(unscale));
            });
        }
        if (dz_ptr) store<VEC>(dz_ptr + i, g);
#pragma unroll
        for (int j = 0; j < VEC; ++j) sums[j] += g[j];
    }
    if (sums_ptr) write(sums_ptr + first * columns + n, sums);
}

// out[p, n] = the sum of rows 32 p .. 32 p + 31 of in [P, N].
template <typename T>
__global__ void column_sums(T* out_ptr, const wide<T>* in_ptr, long long P, long long N) {
    const int n = blockIdx.x * blockDim.x + threadIdx.x, columns = N, rows = P, first = blockIdx.y * 32;
    if (n >= columns) return;
    const int last = first + 32 < rows ? first + 32 : rows;
    wide<T> sum = 0;
#pragma unroll 8
    for (int p = first; p < last; ++p) sum += in_ptr[p * columns + n];
    store(out_ptr + blockIdx.y * columns + n, sum);
}
