// One step of an LSTM between two matrix products; see kernels/lstm/__init__.py for the equations.
//
//     forward   z = xW + hR + b;  c' = s(z_f) c + s(z_i) a(z_c);  h' = s(z_o) a(c')
//     backward  from dh', dc' and z, c, c':  dz, dc
//
// B rows, T steps, H units, gates i, f, c, o; sequences are [B, T, ...]. z keeps what goes into the gates, which
// backward makes again from it: a derivative taken from a rounded gate near 1 would have no correct digit. c is kept
// in float. A thread has one unit of one row.
#include "numeric.cuh"
#include "activation/activations.cuh"

template <typename A>
struct Gates {
    A i, f, c, o;
};

// The inputs z_ptr[0], z_ptr[H], ... of one unit's gates.
template <typename T>
__device__ __forceinline__ Gates<wide<T>> load_gates(const T* z_ptr, int H) {
    return {load(z_ptr), load(z_ptr + H), load(z_ptr + 2 * H), load(z_ptr + 3 * H)};
}

template <typename T>
__device__ __forceinline__ void store_gates(T* z_ptr, int H, const Gates<wide<T>>& z) {
    store(z_ptr, z.i), store(z_ptr + H, z.f), store(z_ptr + 2 * H, z.c), store(z_ptr + 3 * H, z.o);
}

template <typename A>
__device__ __forceinline__ Gates<A> operator+(const Gates<A>& x, const Gates<A>& y) {
    return {x.i + y.i, x.f + y.f, x.c + y.c, x.o + y.o};
}

// The derivative of an activation by its input x, its value y being known.
template <typename A>
__device__ __forceinline__ A slope(int activation, A x, A y) {
    return derivative(activation, from_input(activation) ? x : y);
}

// z_ptr [B, T, 4H]: xW before, z after. product_ptr [B, 4H]: hR; bias_ptr [4H], h0_ptr, c0_ptr [B, H], mask_ptr
// [B, T]: or null. h_ptr, c_ptr [B, T, H]: the states after each step. output_ptr [B, T, H]: what the op returns, or
// null where that is h. factors_ptr [G, B, H]: recurrent dropout, or null; then dropped_ptr [G, B, H] is h times it.
template <typename T>
__global__ void lstm_forward_step(T* h_ptr, wide<T>* c_ptr, T* output_ptr, T* dropped_ptr, T* z_ptr,
                                  const wide<T>* product_ptr, const T* bias_ptr, const T* h0_ptr, const T* c0_ptr,
                                  const bool* mask_ptr, const T* factors_ptr, long long B_, long long T_, long long H_,
                                  long long G, long long t_, long long activation, long long recurrent_activation,
                                  long long zero_output_for_mask) {
    using A = wide<T>;
    const int B = B_, H = H_, t = t_, a = activation, s = recurrent_activation;
    const int unit = blockIdx.x * blockDim.x + threadIdx.x;
    if (unit >= H) return;
    Gates<A> bias = {};
    if (bias_ptr) bias = load_gates(bias_ptr + unit, H);
    for (int b = blockIdx.y * blockDim.y + threadIdx.y; b < B; b += gridDim.y * blockDim.y) {
        const int row = b * static_cast<int>(T_) + t, here = row * H + unit, state = b * H + unit;
        Gates<A> z = load_gates(z_ptr + row * 4 * H + unit, H) + bias;
        if (product_ptr) z = z + load_gates(product_ptr + b * 4 * H + unit, H);
        store_gates(z_ptr + row * 4 * H + unit, H, z);
        const bool keep = mask_ptr ? mask_ptr[row] : true;
        A c = t ? c_ptr[here - H] : c0_ptr ? load(c0_ptr + state) : A(0);
        A h = 0;
        if (keep) {
            c = activate(s, z.f) * c + activate(s, z.i) * activate(a, z.c);
            h = activate(s, z.o) * activate(a, c);
        } else {
            h = t ? load(h_ptr + here - H) : h0_ptr ? load(h0_ptr + state) : A(0);
        }
        c_ptr[here] = c;
        T rounded;
        narrow(h, rounded);
        h_ptr[here] = rounded;
        if (output_ptr) {
            A output = h;
            if (!keep) output = zero_output_for_mask || t == 0 ? A(0) : load(output_ptr + here - H);
            store(output_ptr + here, output);
        }
        if (factors_ptr)
            for (int g = 0; g < G; ++g) {
                const int k = (g * B + b) * H + unit;
                store(dropped_ptr + k, widen(rounded) * load(factors_ptr + k));
            }
    }
}

// dz_ptr [B, T, 4H]. dc_ptr [B, H]: dc' before, dc after. dh_ptr [B, H]: the part of dh' that no product holds before;
// that of dh after. carry_ptr [B, H]: the gradient of the output that later masked steps repeated, or null.
// product_ptr [G, B, H]: dz R^T of the step after, times factors_ptr where that is not null, or null.
// dy_ptr [B, T, H]: the gradient of the outputs, or null.
template <typename T>
__global__ void lstm_backward_step(T* dz_ptr, wide<T>* dc_ptr, wide<T>* dh_ptr, wide<T>* carry_ptr,
                                   const wide<T>* product_ptr, const T* factors_ptr, const T* dy_ptr, const T* z_ptr,
                                   const wide<T>* c_ptr, const T* c0_ptr, const bool* mask_ptr, long long B_,
                                   long long T_, long long H_, long long G, long long t_, long long activation,
                                   long long recurrent_activation, long long zero_output_for_mask) {
    using A = wide<T>;
    const int B = B_, H = H_, t = t_, a = activation, s = recurrent_activation;
    const int unit = blockIdx.x * blockDim.x + threadIdx.x;
    if (unit >= H) return;
    for (int b = blockIdx.y * blockDim.y + threadIdx.y; b < B; b += gridDim.y * blockDim.y) {
        const int row = b * static_cast<int>(T_) + t, here = row * H + unit, state = b * H + unit;
        A dy = dy_ptr ? load(dy_ptr + here) : A(0);
        if (carry_ptr) dy += carry_ptr[state];
        A dh = dh_ptr[state];
        if (product_ptr)
            for (int g = 0; g < G; ++g) {
                const int k = (g * B + b) * H + unit;
                dh += product_ptr[k] * (factors_ptr ? load(factors_ptr + k) : A(1));
            }
        const bool keep = mask_ptr ? mask_ptr[row] : true;
        Gates<A> dz = {};
        if (keep) {
            dh += dy;
            const Gates<A> z = load_gates(z_ptr + row * 4 * H + unit, H);
            const A before = t ? c_ptr[here - H] : c0_ptr ? load(c0_ptr + state) : A(0), c = c_ptr[here];
            const Gates<A> y = {activate(s, z.i), activate(s, z.f), activate(a, z.c), activate(s, z.o)};
            const A squashed = activate(a, c), dc = dc_ptr[state] + dh * y.o * slope(a, c, squashed);
            dz.i = dc * y.c * slope(s, z.i, y.i);
            dz.f = dc * before * slope(s, z.f, y.f);
            dz.c = dc * y.i * slope(a, z.c, y.c);
            dz.o = dh * squashed * slope(s, z.o, y.o);
            dc_ptr[state] = dc * y.f;
        }
        store_gates(dz_ptr + row * 4 * H + unit, H, dz);
        dh_ptr[state] = keep ? A(0) : dh;
        if (carry_ptr) carry_ptr[state] = keep || zero_output_for_mask ? A(0) : dy;
    }
}
