// Storage types, the type each is computed in, and loads and stores of 16 bytes.
//
// float16 and bfloat16 are bits without arithmetic: NVRTC's headers for them are not part of every CuPy installation.
// Without __CUDACC__ the same conversions are written in integers, which is how the kernels are run on a CPU.

struct float16 {
    unsigned short bits;
};
struct bfloat16 {
    unsigned short bits;
};

template <typename T>
struct Wide {
    using type = float;
};
template <>
struct Wide<double> {
    using type = double;
};
template <typename T>
using wide = typename Wide<T>::type;

__device__ __forceinline__ unsigned float_bits(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}

__device__ __forceinline__ float bits_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ double widen(double x) { return x; }
__device__ __forceinline__ float widen(bfloat16 x) { return bits_float(static_cast<unsigned>(x.bits) << 16); }

__device__ __forceinline__ float widen(float16 x) {
#ifdef __CUDACC__
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#else
    const unsigned sign = (x.bits & 0x8000u) << 16, rest = x.bits & 0x7fffu;
    if (rest >= 0x7c00u) return bits_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    if (rest >= 0x400u) return bits_float(sign | ((rest << 13) + (112u << 23)));
    return bits_float(sign | float_bits(rest * 0x1p-24f));  // subnormal
#endif
}

// Rounds to nearest, ties to even.
__device__ __forceinline__ void narrow(float x, float& y) { y = x; }
__device__ __forceinline__ void narrow(double x, double& y) { y = x; }

__device__ __forceinline__ void narrow(float x, bfloat16& y) {
#if defined(__CUDACC__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    const unsigned bits = float_bits(x);
    y.bits = x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
#endif
}

__device__ __forceinline__ void narrow(float x, float16& y) {
#ifdef __CUDACC__
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    const unsigned bits = float_bits(x), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    unsigned rounded;
    if (rest > 0x7f800000u) rounded = 0x7fffu;                                               // NaN
    else if (rest >= 0x477ff000u) rounded = 0x7c00u;                                         // from 65520: infinity
    else if (rest >= 0x38800000u) rounded = (rest - (112u << 23) + 0xfffu + (rest >> 13 & 1u)) >> 13;
    else rounded = float_bits(bits_float(rest) + 0.5f) - float_bits(0.5f);  // the adder rounds at 2^-24
    y.bits = static_cast<unsigned short>(sign | rounded);
#endif
}

// The widest word that N values of T fill: N > 1 values lie at a multiple of its size.
template <int bytes>
struct Word {
    using type = unsigned char;
};
template <>
struct Word<8> {
    using type = uint2;
};
template <>
struct Word<16> {
    using type = uint4;
};

// N consecutive values as they are, 16 bytes at a time where N fills them.
template <int N, typename T>
__device__ __forceinline__ void read(const T* pointer, T (&values)[N]) {
    constexpr int bytes = N * sizeof(T), word_bytes = bytes % 16 == 0 ? 16 : bytes;
    if constexpr (N > 1 && (word_bytes == 16 || word_bytes == 8)) {
        using W = typename Word<word_bytes>::type;
        W words[bytes / word_bytes];
#pragma unroll
        for (int i = 0; i < bytes / word_bytes; ++i) words[i] = reinterpret_cast<const W*>(pointer)[i];
        memcpy(values, words, bytes);
    } else {
#pragma unroll
        for (int i = 0; i < N; ++i) values[i] = pointer[i];
    }
}

template <int N, typename T>
__device__ __forceinline__ void write(T* pointer, const T (&values)[N]) {
    constexpr int bytes = N * sizeof(T), word_bytes = bytes % 16 == 0 ? 16 : bytes;
    if constexpr (N > 1 && (word_bytes == 16 || word_bytes == 8)) {
        using W = typename Word<word_bytes>::type;
        W words[bytes / word_bytes];
        memcpy(words, values, bytes);
#pragma unroll
        for (int i = 0; i < bytes / word_bytes; ++i) reinterpret_cast<W*>(pointer)[i] = words[i];
    } else {
#pragma unroll
        for (int i = 0; i < N; ++i) pointer[i] = values[i];
    }
}

// The same between memory and registers of the wide type.
template <int N, typename T>
__device__ __forceinline__ void load(const T* pointer, wide<T> (&values)[N]) {
    T raw[N];
    read(pointer, raw);
#pragma unroll
    for (int i = 0; i < N; ++i) values[i] = widen(raw[i]);
}

template <int N, typename T>
__device__ __forceinline__ void store(T* pointer, const wide<T> (&values)[N]) {
    T raw[N];
#pragma unroll
    for (int i = 0; i < N; ++i) narrow(values[i], raw[i]);
    write(pointer, raw);
}

template <typename T>
__device__ __forceinline__ wide<T> load(const T* pointer) {
    return widen(*pointer);
}

template <typename T>
__device__ __forceinline__ void store(T* pointer, wide<T> value) {
    narrow(value, *pointer);
}
