// A convolution as matrix products: its patches as rows of a matrix, and the sum of such rows back into an image.
//
//     im2col  columns[g, (b, i, j), (r, s, c)] = x[b, i sh + r dh - top, j sw + s dw - left, g Cg + c], 0 outside
//     col2im  dx[b, h, w, g Cg + c] = sum over r, s of columns[g, (b, i, j), (r, s, c)]
//             with i sh = h + top - r dh and j sw = w + left - s dw
//
// B images [H, W, C], C = G Cg channels in G groups, outputs [P, Q] (H', W'), taps kh kw. Both gather: an element is
// written once, by one thread, so no atomics. A thread has VEC channels (of one group) and every k-th row.
#include "numeric.cuh"

// Rows first_row .. first_row + rows of all B P Q.
template <typename T, int VEC>
__global__ void im2col(T* columns_ptr, const T* x_ptr, long long first_row, long long rows, long long H_, long long W_,
                       long long C_, long long Cg_, long long P_, long long Q_, long long kh, long long kw_,
                       long long sh, long long sw, long long dh, long long dw, long long top, long long left) {
    const int H = H_, W = W_, C = C_, Cg = Cg_, P = P_, Q = Q_, kw = kw_, taps = static_cast<int>(kh) * kw;
    const int position = blockIdx.x * blockDim.x + threadIdx.x, vectors = C / VEC;
    if (position >= taps * vectors) return;
    const int tap = position / vectors, c = (position - tap * vectors) * VEC, group = c / Cg;
    const int r = tap / kw, s = tap - r * kw;
    const int down = r * static_cast<int>(dh) - static_cast<int>(top);
    const int right = s * static_cast<int>(dw) - static_cast<int>(left);
    T* const out_ptr = columns_ptr + (group * static_cast<int>(rows) * taps + tap) * Cg + c - group * Cg;
    for (int row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += gridDim.y * blockDim.y) {
        const int pixel = row + static_cast<int>(first_row), line = pixel / Q, b = line / P;
        const int h = (line - b * P) * static_cast<int>(sh) + down, w = (pixel - line * Q) * static_cast<int>(sw) + right;
        wide<T> values[VEC] = {};
        if (h >= 0 && h < H && w >= 0 && w < W) load<VEC>(x_ptr + ((b * H + h) * W + w) * C + c, values);
        store<VEC>(out_ptr + row * taps * Cg, values);
    }
}

// Lines first_line .. first_line + lines of all B H, from the columns of output lines first_output ..
// first_output + outputs of all B P, among which are all that those lines need.
template <typename T, int VEC>
__global__ void col2im(T* dx_ptr, const T* columns_ptr, long long first_line, long long lines, long long first_output,
                       long long outputs, long long H_, long long W_, long long C_, long long Cg_, long long P_,
                       long long Q_, long long kh_, long long kw_, long long sh_, long long sw_, long long dh_,
                       long long dw_, long long top_, long long left_) {
    const int H = H_, W = W_, C = C_, Cg = Cg_, P = P_, Q = Q_, kh = kh_, kw = kw_, taps = kh * kw;
    const int sh = sh_, sw = sw_, dh = dh_, dw = dw_;
    const int position = blockIdx.x * blockDim.x + threadIdx.x, vectors = C / VEC;
    if (position >= W * vectors) return;
    const int w = position / vectors, c = (position - w * vectors) * VEC, group = c / Cg;
    const int rows = static_cast<int>(outputs) * Q;
    const T* const group_ptr = columns_ptr + group * rows * taps * Cg + c - group * Cg;
    for (int k = blockIdx.y * blockDim.y + threadIdx.y; k < lines; k += gridDim.y * blockDim.y) {
        const int line = k + static_cast<int>(first_line), b = line / H, h = line - b * H;
        wide<T> sums[VEC] = {};
        for (int r = 0; r < kh; ++r) {
            const int below = h + static_cast<int>(top_) - r * dh, i = below / sh;
            if (below < 0 || i >= P || i * sh != below) continue;
            for (int s = 0; s < kw; ++s) {
                const int beside = w + static_cast<int>(left_) - s * dw, j = beside / sw;
                if (beside < 0 || j >= Q || j * sw != beside) continue;
                const int row = (b * P + i - static_cast<int>(first_output)) * Q + j;
                wide<T> values[VEC];
                load<VEC>(group_ptr + (row * taps + r * kw + s) * Cg, values);
#pragma unroll
                for (int v = 0; v < VEC; ++v) sums[v] += values[v];
            }
        }
        store<VEC>(dx_ptr + (line * W + w) * C + c, sums);
    }
}
