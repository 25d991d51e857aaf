// The dropout mask: Philox4x32 with 7 rounds (Salmon et al. 2011), 16 bits an element, the same in every
// implementation. One call serves the 8 elements 8 i .. 8 i + 7 of the row-major mask: counter (i, offset), key seed.

struct Philox {
    unsigned key[2], offset[2];

    // seed_ptr: (seed, offset); null where nothing is drawn.
    __device__ __forceinline__ explicit Philox(const long long* seed_ptr) {
        const unsigned long long seed = seed_ptr ? seed_ptr[0] : 0, start = seed_ptr ? seed_ptr[1] : 0;
        key[0] = static_cast<unsigned>(seed), key[1] = static_cast<unsigned>(seed >> 32);
        offset[0] = static_cast<unsigned>(start), offset[1] = static_cast<unsigned>(start >> 32);
    }

    // 8 times 16 bits: element j is in the lower (even j) or upper half of words[j / 2].
    __device__ __forceinline__ void draw(unsigned group, unsigned (&words)[4]) const {
        unsigned c0 = group, c1 = 0, c2 = offset[0], c3 = offset[1], k0 = key[0], k1 = key[1];
#pragma unroll
        for (int round = 0; round < 7; ++round) {
            const unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;
            c0 = static_cast<unsigned>(p1 >> 32) ^ c1 ^ k0;
            c2 = static_cast<unsigned>(p0 >> 32) ^ c3 ^ k1;
            c1 = static_cast<unsigned>(p1);
            c3 = static_cast<unsigned>(p0);
            k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
        }
        words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
    }

    // The N elements from `index` on (N is 8 and index a multiple of it, or N is 1) times 0 where they are dropped, so
    // that NaN stays NaN, else times `scale`.
    template <int N, typename A>
    __device__ __forceinline__ void drop(int index, unsigned threshold, A scale, A (&values)[N]) const {
        static_assert(N == 8 || N == 1);
        unsigned words[4];
        draw(static_cast<unsigned>(index) >> 3, words);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const unsigned lane = N == 8 ? j : index & 7;
            const unsigned word = lane < 4 ? (lane < 2 ? words[0] : words[1]) : (lane < 6 ? words[2] : words[3]);
            const unsigned value = word >> 16 * (lane & 1) & 0xffffu;
            values[j] *= value < threshold ? A(0) : scale;
        }
    }
};
