// The activations of kernels/activation/__init__.py and their derivatives, in float (double for double).
//
// Which one is a number known at run time, the place in `ACTIVATIONS` of kernels/cupy_runtime.py: every thread of a
// launch takes the same branch, and one compiled kernel serves all of them.

enum Activation {
    LINEAR,
    RELU,
    RELU6,
    LEAKY_RELU,
    ELU,
    SELU,
    GELU,
    GELU_TANH,
    SILU,
    SIGMOID,
    TANH,
    SOFTPLUS,
    HARD_SIGMOID,
    MISH
};

// Whether the derivative is taken from the activation's input; else it is taken from its result.
__device__ __forceinline__ bool from_input(int activation) {
    switch (activation) {
        case GELU:
        case GELU_TANH:
        case SILU:
        case MISH: return true;
        default: return false;
    }
}

template <typename A>
struct Constants {
    static constexpr A leak = A(0.2);
    static constexpr A selu_scale = A(1.0507009873554804934193349852946);
    static constexpr A selu_negative = A(1.7580993408473768599402175208123);  // scale * alpha
    static constexpr A sqrt_half = A(0.70710678118654752440084436210485);
    static constexpr A density = A(0.39894228040143267793994605993438);  // 1 / sqrt(2 pi)
    static constexpr A linear = A(1.5957691216057307117597842397375);    // 2 sqrt(2 / pi)
    static constexpr A cubic = A(0.044715 * 1.5957691216057307117597842397375);
    static constexpr A sixth = A(1) / A(6);
};

// 1 / x to 2 units in the last place, 0 from 2^126 on: without the branch to a subroutine of the exact quotient.
__device__ __forceinline__ float reciprocal(float x) {
#ifdef __CUDACC__
    return __fdividef(1.0f, x);
#else
    return 1.0f / x;
#endif
}
__device__ __forceinline__ double reciprocal(double x) { return 1.0 / x; }

template <typename A>
__device__ __forceinline__ A sigmoid(A x) {
    return reciprocal(A(1) + exp(-x));  // exp may be infinite
}

// The normal distribution's, without the cancellation of 1 + erf(x) far below 0.
template <typename A>
__device__ __forceinline__ A cumulative(A x) {
    return A(0.5) * erfc(-x * Constants<A>::sqrt_half);
}

// gelu_tanh is x sigmoid(u), as (1 + tanh(u / 2)) / 2 = sigmoid(u).
template <typename A>
__device__ __forceinline__ A cubic_argument(A x) {
    return x * (Constants<A>::linear + Constants<A>::cubic * x * x);
}

template <typename A>
__device__ __forceinline__ A softplus(A x) {
    return x > A(20) ? x : log1p(exp(x));
}

// x where its products with vanishing tails are taken: the tail of every derivative below is 0 at 40 in double too.
// NaN stays NaN.
template <typename A>
__device__ __forceinline__ A tail(A x) {
    return x > A(40) ? A(40) : x < A(-40) ? A(-40) : x;
}

template <typename A>
__device__ __forceinline__ A activate(int activation, A x) {
    using K = Constants<A>;
    switch (activation) {
        case RELU: return x < 0 ? A(0) : x;
        case RELU6: return x < 0 ? A(0) : x > 6 ? A(6) : x;
        case LEAKY_RELU: return x < 0 ? K::leak * x : x;
        case ELU: return x < 0 ? expm1(x) : x;
        case SELU: return x < 0 ? K::selu_negative * expm1(x) : K::selu_scale * x;
        case GELU: return x * cumulative(x);
        case GELU_TANH: return x * sigmoid(cubic_argument(x));
        case SILU: return x * sigmoid(x);
        case SIGMOID: return sigmoid(x);
        case TANH: return tanh(x);
        case SOFTPLUS: return softplus(x);
        case HARD_SIGMOID: return x < -3 ? A(0) : x > 3 ? A(1) : (x + 3) * K::sixth;
        case MISH: return x * tanh(softplus(x));
        default: return x;
    }
}

// The derivative at v: the activation's input where from_input(activation), else its result.
template <typename A>
__device__ __forceinline__ A derivative(int activation, A v) {
    using K = Constants<A>;
    switch (activation) {
        case RELU: return v <= 0 ? A(0) : A(1);
        case RELU6: return v <= 0 || v >= 6 ? A(0) : A(1);
        case LEAKY_RELU: return v <= 0 ? K::leak : A(1);
        case ELU: return v <= 0 ? v + A(1) : A(1);
        case SELU: return v <= 0 ? v + K::selu_negative : K::selu_scale;
        case GELU: {
            const A x = tail(v);
            return cumulative(v) + K::density * x * exp(A(-0.5) * x * x);
        }
        case GELU_TANH: {
            const A x = tail(v), u = cubic_argument(x), y = sigmoid(u);
            return y + x * y * sigmoid(-u) * (K::linear + 3 * K::cubic * x * x);
        }
        case SILU: {
            const A y = sigmoid(v);
            return y + tail(v) * y * sigmoid(-v);
        }
        case SIGMOID: return v * (A(1) - v);
        case TANH: return A(1) - v * v;
        case SOFTPLUS: return -expm1(-v);
        case HARD_SIGMOID: return v <= 0 || v >= 1 ? A(0) : K::sixth;
        case MISH: {
            const A y = tanh(softplus(v));
            return y + tail(v) * sigmoid(v) * (A(1) - y * y);
        }
        default: return A(1);
    }
}

template <int number>
struct Number {
    static constexpr int value = number;
};

// function(Number<activation>()): one branch before a loop over elements, instead of one in it.
template <typename F>
__device__ __forceinline__ void for_activation(int activation, F&& function) {
    switch (activation) {
        case RELU: return function(Number<RELU>());
        case RELU6: return function(Number<RELU6>());
        case LEAKY_RELU: return function(Number<LEAKY_RELU>());
        case ELU: return function(Number<ELU>());
        case SELU: return function(Number<SELU>());
        case GELU: return function(Number<GELU>());
        case GELU_TANH: return function(Number<GELU_TANH>());
        case SILU: return function(Number<SILU>());
        case SIGMOID: return function(Number<SIGMOID>());
        case TANH: return function(Number<TANH>());
        case SOFTPLUS: return function(Number<SOFTPLUS>());
        case HARD_SIGMOID: return function(Number<HARD_SIGMOID>());
        case MISH: return function(Number<MISH>());
        default: return function(Number<LINEAR>());
    }
}
