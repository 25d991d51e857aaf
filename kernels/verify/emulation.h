// Runs CUDA kernels on a CPU: thread after thread, in an order that can be shuffled, with memory behind guard pages.
//
// This text comes before the kernels' source, then a table `kernels` of their instances. Kernels must not synchronise
// within a block, nor use shared memory. The compiler plants traps for misaligned accesses and overflows; they and
// accesses to guard pages end the launch, and `launch` says what happened.

#include <signal.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <utility>

#define __global__ static
#define __device__
#define __forceinline__ inline

using std::erfc;
using std::exp;
using std::expm1;
using std::log1p;
using std::memcpy;
using std::tanh;

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct Index {
    unsigned x, y;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

// Calls a kernel with arguments that take 8 bytes each: a pointer, a long long or a double.
template <typename... P, std::size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<P*>(arguments[I])...);
}

struct Kernel {
    void (*run)(void** arguments);
    int arguments;
};

template <auto kernel, typename... P>
Kernel entry(void (*)(P...)) {
    static_assert(((sizeof(P) == 8) && ...), "an argument is a pointer, a long long or a double");
    return {[](void** arguments) { call(kernel, arguments, std::index_sequence_for<P...>()); }, sizeof...(P)};
}

static sigjmp_buf escape;
static volatile sig_atomic_t caught;
static void* volatile address;

static void handler(int number, siginfo_t* information, void*) {
    caught = number;
    address = information->si_addr;
    siglongjmp(escape, 1);
}

// The k-th of n items in an order given by a step that is coprime to n.
static unsigned long long pick(unsigned long long k, unsigned long long n, unsigned long long order) {
    if (order == 0) return k;
    if (order == 1) return n - 1 - k;
    unsigned long long step = order % n;
    for (;; ++step) {
        unsigned long long a = step, b = n;
        while (b) {
            const unsigned long long rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1) return (k % n) * (step % n ? step % n : 1) % n;
    }
}

static const std::size_t page = sysconf(_SC_PAGESIZE);

static std::size_t pages(std::size_t bytes) { return (bytes + page - 1) / page * page; }
static std::size_t aligned(std::size_t bytes) { return (bytes + 15) / 16 * 16; }

struct Spare {
    char* start;
    std::size_t body;
};
static Spare spares[32];

}  // namespace emulation

extern "C" {

// Memory whose last byte is followed by a page that must not be touched, and whose page is preceded by one. What has
// been freed is used again, as asking the system for pages takes longer than running a small kernel.
char* guarded_allocate(std::size_t bytes) {
    using namespace emulation;
    const std::size_t body = pages(bytes);
    char* start = nullptr;
    for (Spare& spare : spares)
        if (spare.start && spare.body == body) {
            start = spare.start;
            spare.start = nullptr;
            break;
        }
    if (!start) {
        char* const whole = static_cast<char*>(
            mmap(nullptr, body + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (whole == MAP_FAILED) return nullptr;
        mprotect(whole, page, PROT_NONE);
        mprotect(whole + page + body, page, PROT_NONE);
        start = whole + page;
    }
    memset(start, 0xff, body);  // NaN in every float type
    return start + (body - aligned(bytes));
}

// Whether everything around `bytes` of guarded memory is as it was.
int guarded_intact(const char* memory, std::size_t bytes) {
    using namespace emulation;
    const char* const start = memory - (pages(bytes) - aligned(bytes));
    for (const char* p = start; p < start + pages(bytes); ++p)
        if ((p < memory || p >= memory + bytes) && *p != static_cast<char>(0xff)) return 0;
    return 1;
}

void guarded_free(char* memory, std::size_t bytes) {
    using namespace emulation;
    const std::size_t body = pages(bytes);
    char* const start = memory - (body - aligned(bytes));
    for (Spare& spare : spares)
        if (!spare.start) {
            spare = {start, body};
            return;
        }
    munmap(start - page, body + 2 * page);
}

// 0, or the signal that ended it, the address in question then in *fault. grid: blocks in x and y; block: threads.
int emulate(const emulation::Kernel* kernel, void** arguments, const unsigned* grid, const unsigned* block,
            unsigned long long order, void** fault) {
    using namespace emulation;
    const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    struct sigaction action = {}, before[4];
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    for (int i = 0; i < 4; ++i) sigaction(signals[i], &action, &before[i]);
    caught = 0;
    gridDim = {grid[0], grid[1]};
    blockDim = {block[0], block[1]};
    const unsigned long long blocks = 1ull * grid[0] * grid[1], threads = 1ull * block[0] * block[1];
    if (!sigsetjmp(escape, 1)) {
        for (unsigned long long k = 0; k < blocks; ++k) {
            const unsigned b = pick(k, blocks, order);
            blockIdx = {b % grid[0], b / grid[0]};
            for (unsigned long long t = 0; t < threads; ++t) {
                const unsigned thread = pick(t, threads, order);
                threadIdx = {thread % block[0], thread / block[0]};
                kernel->run(arguments);
            }
        }
    }
    for (int i = 0; i < 4; ++i) sigaction(signals[i], &before[i], nullptr);
    *fault = address;
    return caught;
}
}
