// One step of an LSTM between two matrix products; see kernels/lstm/__init__.py for the equations.
//
//     forward   z = xW + hR + b;  c' = s(z_f) c + s(z_i) a(z_c);  h' = s(z_o) a(c')
//     backward  from dh', dc' and z, c, c':  dz, dc
//
// B rows, T steps, H units, gates i, f, c, o; sequences are [B, T, ...]. What is kept is z, from which backward makes the
// gates again: a derivative taken from a rounded gate near 1 would have no correct digit. Between the steps c is in
// float. A masked step leaves h and c as they are. A thread has one unit of every k-th row.
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

// h_ptr, c_ptr [B, H]: the states, before and after. z_ptr [B, T, 4H]: xW before, z after. cells_ptr, previous_ptr
// [B, T, H]: the cell after the step, the output before it. output_ptr [B, T, H]. product_ptr [B, 4H]: hR; bias_ptr [4H].
// mask_ptr, shown_ptr [B, T]: where the states change, where the output is not 0. factors_ptr [G, B, H]: recurrent
// dropout; dropped_ptr [G, B, H] is then h times it. Any of these but h, c and z may be null.
// t: the step's place in x, and in all that goes with it; place: that in the outputs.
template <typename T>
__global__ void lstm_forward_step(T* h_ptr, wide<T>* c_ptr, T* z_ptr, T* output_ptr, T* cells_ptr, T* previous_ptr,
                                  T* dropped_ptr, const wide<T>* product_ptr, const T* bias_ptr, const bool* mask_ptr,
                                  const bool* shown_ptr, const T* factors_ptr, long long B_, long long T_,
                                  long long H_, long long G, long long t, long long place, long long activation,
                                  long long recurrent_activation) {
    using A = wide<T>;
    const int B = B_, H = H_, steps = T_, a = activation, s = recurrent_activation;
    const int unit = blockIdx.x * blockDim.x + threadIdx.x;
    if (unit >= H) return;
    Gates<A> bias = {};
    if (bias_ptr) bias = load_gates(bias_ptr + unit, H);
    for (int b = blockIdx.y * blockDim.y + threadIdx.y; b < B; b += gridDim.y * blockDim.y) {
        const int row = b * steps + static_cast<int>(t), state = b * H + unit;
        Gates<A> z = load_gates(z_ptr + row * 4 * H + unit, H) + bias;
        if (product_ptr) z = z + load_gates(product_ptr + b * 4 * H + unit, H);
        A h = load(h_ptr + state), c = c_ptr[state];
        if (previous_ptr) store(previous_ptr + row * H + unit, h);
        if (mask_ptr ? mask_ptr[row] : true) {
            c = activate(s, z.f) * c + activate(s, z.i) * activate(a, z.c);
            T rounded;
            narrow(activate(s, z.o) * activate(a, c), rounded);
            h = widen(rounded);
        }
        store_gates(z_ptr + row * 4 * H + unit, H, z);
        store(h_ptr + state, h);
        c_ptr[state] = c;
        if (cells_ptr) store(cells_ptr + row * H + unit, c);
        const bool shown = shown_ptr ? shown_ptr[row] : true;
        if (output_ptr) store(output_ptr + (b * steps + static_cast<int>(place)) * H + unit, shown ? h : A(0));
        if (factors_ptr)
            for (int g = 0; g < G; ++g) {
                const int k = (g * B + b) * H + unit;
                store(dropped_ptr + k, h * load(factors_ptr + k));
            }
    }
}

// dz_ptr [B, T, 4H]. dc_ptr [B, H]: dc' before, dc after. dh_ptr [B, H]: the part of dh' that is in no product before,
// that of dh after. product_ptr [G, B, H]: dz R^T of the step after, to be multiplied by factors_ptr, or null.
// dy_ptr [B, T, H]: the gradient of the outputs, or null. before: the place in x of the step before, or -1.
template <typename T>
__global__ void lstm_backward_step(T* dz_ptr, wide<T>* dc_ptr, wide<T>* dh_ptr, const wide<T>* product_ptr,
                                   const T* factors_ptr, const T* dy_ptr, const T* z_ptr, const T* cells_ptr,
                                   const T* c0_ptr, const bool* mask_ptr, const bool* shown_ptr, long long B_,
                                   long long T_, long long H_, long long G, long long t, long long before,
                                   long long place, long long activation, long long recurrent_activation) {
    using A = wide<T>;
    const int B = B_, H = H_, steps = T_, a = activation, s = recurrent_activation;
    const int unit = blockIdx.x * blockDim.x + threadIdx.x;
    if (unit >= H) return;
    for (int b = blockIdx.y * blockDim.y + threadIdx.y; b < B; b += gridDim.y * blockDim.y) {
        const int row = b * steps + static_cast<int>(t), state = b * H + unit;
        A dh = dh_ptr[state];
        if (product_ptr)
            for (int g = 0; g < G; ++g) {
                const int k = (g * B + b) * H + unit;
                dh += product_ptr[k] * (factors_ptr ? load(factors_ptr + k) : A(1));
            }
        const bool shown = shown_ptr ? shown_ptr[row] : true;
        if (dy_ptr && shown) dh += load(dy_ptr + (b * steps + static_cast<int>(place)) * H + unit);
        Gates<A> dz = {};
        if (mask_ptr ? mask_ptr[row] : true) {
            const Gates<A> z = load_gates(z_ptr + row * 4 * H + unit, H);
            const A c = load(cells_ptr + row * H + unit), squashed = activate(a, c);
            const A last = before >= 0 ? load(cells_ptr + (b * steps + static_cast<int>(before)) * H + unit)
                           : c0_ptr    ? load(c0_ptr + state)
                                       : A(0);
            const Gates<A> y = {activate(s, z.i), activate(s, z.f), activate(a, z.c), activate(s, z.o)};
            const A dc = dc_ptr[state] + dh * y.o * slope(a, c, squashed);
            dz.i = dc * y.c * slope(s, z.i, y.i);
            dz.f = dc * last * slope(s, z.f, y.f);
            dz.c = dc * y.i * slope(a, z.c, y.c);
            dz.o = dh * squashed * slope(s, z.o, y.o);
            dc_ptr[state] = dc * y.f;
            dh = 0;
        }
        store_gates(dz_ptr + row * 4 * H + unit, H, dz);
        dh_ptr[state] = dh;
    }
}
