// The functions of cuBLAS that kernels/cupy_gemm.py calls, on the CPU, with cuBLAS's own argument checks.
//
// Compiled behind emulation.h and numeric.cuh. Matrices are in columns, as in cuBLAS; sums are kept in double.

enum { R_32F = 0, R_64F = 1, R_16F = 2, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_64F = 70, COMPUTE_TF32 = 77 };
enum { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };

struct Handle {
    int math_mode = 0, stream_set = 0, workspace_set = 0;
};

static double element(const void* matrix, int type, long long i) {
    switch (type) {
        case R_32F: return static_cast<const float*>(matrix)[i];
        case R_64F: return static_cast<const double*>(matrix)[i];
        case R_16F: return widen(static_cast<const float16*>(matrix)[i]);
        default: return widen(static_cast<const bfloat16*>(matrix)[i]);
    }
}

static void set(void* matrix, int type, long long i, double value) {
    switch (type) {
        case R_32F: static_cast<float*>(matrix)[i] = static_cast<float>(value); break;
        case R_64F: static_cast<double*>(matrix)[i] = value; break;
        case R_16F: narrow(static_cast<float>(value), static_cast<float16*>(matrix)[i]); break;
        default: narrow(static_cast<float>(value), static_cast<bfloat16*>(matrix)[i]);
    }
}

static double rounded(double value, int compute) {
    if (compute != COMPUTE_TF32) return value;
    const unsigned bits = float_bits(static_cast<float>(value));
    return bits_float((bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu);
}

static bool known(int type) { return type == R_32F || type == R_64F || type == R_16F || type == R_16BF; }

extern "C" {

int cublasCreate_v2(Handle** handle) {
    *handle = new Handle;
    return SUCCESS;
}
int cublasSetMathMode(Handle* handle, int mode) {
    handle->math_mode = mode;
    return mode == 16 ? SUCCESS : INVALID_VALUE;
}
int cublasSetStream_v2(Handle* handle, void*) {
    handle->stream_set = 1, handle->workspace_set = 0;
    return SUCCESS;
}
int cublasSetWorkspace_v2(Handle* handle, void* workspace, std::size_t bytes) {
    handle->workspace_set = 1;
    return workspace && bytes && reinterpret_cast<std::size_t>(workspace) % 64 == 0 ? SUCCESS : INVALID_VALUE;
}

int cublasGemmStridedBatchedEx(Handle* handle, int trans_a, int trans_b, int m, int n, int k, const void* alpha,
                               const void* a, int a_type, int lda, long long stride_a, const void* b, int b_type,
                               int ldb, long long stride_b, const void* beta, void* c, int c_type, int ldc,
                               long long stride_c, int batch, int compute, int algorithm) {
    if (!handle || !handle->stream_set || !handle->workspace_set || handle->math_mode != 16) return NOT_INITIALIZED;
    const auto at_least = [](int x) { return x > 1 ? x : 1; };
    if (m < 0 || n < 0 || k < 0 || batch < 0 || trans_a < 0 || trans_a > 1 || trans_b < 0 || trans_b > 1 ||
        lda < at_least(trans_a ? k : m) || ldb < at_least(trans_b ? n : k) || ldc < at_least(m) || algorithm != -1)
        return INVALID_VALUE;
    const bool wide = a_type == R_64F, half = a_type == R_16F || a_type == R_16BF;
    const bool types = known(a_type) && a_type == b_type && (c_type == a_type || (half && c_type == R_32F));
    const bool computed = compute == (wide ? COMPUTE_64F : COMPUTE_32F) || (compute == COMPUTE_TF32 && a_type == R_32F);
    if (!types || !computed) return NOT_SUPPORTED;
    const double by = wide ? *static_cast<const double*>(alpha) : *static_cast<const float*>(alpha);
    const double keep = wide ? *static_cast<const double*>(beta) : *static_cast<const float*>(beta);
    for (long long p = 0; p < batch; ++p)
        for (long long j = 0; j < n; ++j)
            for (long long i = 0; i < m; ++i) {
                double sum = 0;
                for (long long l = 0; l < k; ++l)
                    sum += rounded(element(a, a_type, p * stride_a + (trans_a ? i * lda + l : l * lda + i)), compute) *
                           rounded(element(b, b_type, p * stride_b + (trans_b ? l * ldb + j : j * ldb + l)), compute);
                const long long at = p * stride_c + j * ldc + i;
                set(c, c_type, at, by * sum + (keep == 0 ? 0 : keep * element(c, c_type, at)));
            }
    return SUCCESS;
}

int cublasGemmEx(Handle* handle, int trans_a, int trans_b, int m, int n, int k, const void* alpha, const void* a,
                 int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type,
                 int ldc, int compute, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, trans_a, trans_b, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0,
                                      beta, c, c_type, ldc, 0, 1, compute, algorithm);
}
}
