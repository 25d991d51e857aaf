// y[b, i, j, c] = max over r < ph, s < pw of x[b, i sh + r - top, j sw + s - left, c], inside the image.
//
// The forward pass keeps the place r pw + s of each maximum: of equal ones the first, of NaNs the first; the place is
// I, a byte for windows of up to 256 elements. Backward is a gather: an element of x asks each window that holds it
// (one, where windows do not overlap) whether it was the maximum. A thread has VEC channels and every k-th line.
#include "numeric.cuh"

template <typename T, typename I, int VEC>
__global__ void max_pool2d_forward(T* y_ptr, I* place_ptr, const T* x_ptr, long long lines, long long H_, long long W_,
                                   long long C_, long long P_, long long Q_, long long ph_, long long pw_, long long sh,
                                   long long sw, long long top, long long left) {
    const int H = H_, W = W_, C = C_, P = P_, Q = Q_, ph = ph_, pw = pw_;
    const int position = blockIdx.x * blockDim.x + threadIdx.x, vectors = C / VEC;
    if (position >= Q * vectors) return;
    const int j = position / vectors, c = (position - j * vectors) * VEC;
    const int left_edge = j * static_cast<int>(sw) - static_cast<int>(left);
    for (int line = blockIdx.y * blockDim.y + threadIdx.y; line < lines; line += gridDim.y * blockDim.y) {
        const int b = line / P, top_edge = (line - b * P) * static_cast<int>(sh) - static_cast<int>(top);
        wide<T> best[VEC] = {};
        int place[VEC];
#pragma unroll
        for (int v = 0; v < VEC; ++v) place[v] = -1;  // nothing seen: the first element is taken whatever it is
        for (int r = 0; r < ph; ++r) {
            const int h = top_edge + r;
            if (h < 0 || h >= H) continue;
            for (int s = 0; s < pw; ++s) {
                const int w = left_edge + s;
                if (w < 0 || w >= W) continue;
                wide<T> x[VEC];
                load<VEC>(x_ptr + ((b * H + h) * W + w) * C + c, x);
#pragma unroll
                for (int v = 0; v < VEC; ++v) {
                    const bool first_nan = x[v] != x[v] && best[v] == best[v];
                    if (x[v] > best[v] || first_nan || place[v] < 0) best[v] = x[v], place[v] = r * pw + s;
                }
            }
        }
        const int i = (line * Q + j) * C + c;
        store<VEC>(y_ptr + i, best);
        if (place_ptr == nullptr) continue;
        I places[VEC];
#pragma unroll
        for (int v = 0; v < VEC; ++v) places[v] = static_cast<I>(place[v]);
        write(place_ptr + i, places);
    }
}

template <typename T, typename I, int VEC>
__global__ void max_pool2d_backward(T* dx_ptr, const T* dy_ptr, const I* place_ptr, long long lines, long long H_,
                                    long long W_, long long C_, long long P_, long long Q_, long long ph_,
                                    long long pw_, long long sh_, long long sw_, long long top, long long left) {
    const int H = H_, W = W_, C = C_, P = P_, Q = Q_, ph = ph_, pw = pw_, sh = sh_, sw = sw_;
    const int position = blockIdx.x * blockDim.x + threadIdx.x, vectors = C / VEC;
    if (position >= W * vectors) return;
    const int w = position / vectors, c = (position - w * vectors) * VEC, beside = w + static_cast<int>(left);
    const int first_j = beside < pw ? 0 : (beside - pw) / sw + 1, end_j = beside / sw < Q ? beside / sw + 1 : Q;
    for (int line = blockIdx.y * blockDim.y + threadIdx.y; line < lines; line += gridDim.y * blockDim.y) {
        const int b = line / H, below = line - b * H + static_cast<int>(top);
        const int first_i = below < ph ? 0 : (below - ph) / sh + 1, end_i = below / sh < P ? below / sh + 1 : P;
        wide<T> sums[VEC] = {};
        for (int i = first_i; i < end_i; ++i) {
            for (int j = first_j; j < end_j; ++j) {
                const int from = ((b * P + i) * Q + j) * C + c, here = (below - i * sh) * pw + beside - j * sw;
                wide<T> dy[VEC];
                load<VEC>(dy_ptr + from, dy);
                I places[VEC];
                read(place_ptr + from, places);
#pragma unroll
                for (int v = 0; v < VEC; ++v) sums[v] += places[v] == static_cast<I>(here) ? dy[v] : wide<T>(0);
            }
        }
        store<VEC>(dx_ptr + (line * W + w) * C + c, sums);
    }
}
