// Elman, LSTM and GRU over whole sequences: one call for the values, one for the gradient.
//
// Letters: T time steps, B batch, D inputs, H hidden size. z is what the matrix products of a step
// make: blocks of H columns, one a gate, each padded to whole vectors, in panels of two vectors.
//
// Why this order of loops: the rows of a batch never meet, so a part of the rows runs through all
// time steps on one thread and no thread waits for another. Within a step the panels of weights
// are the outer loop, so that each is read once; a block of ROWS rows times one panel stays in
// registers. Products in which no step waits for the one before are made for a chunk of steps: the
// gradients of the weights and of x, and, where the weights are large, the values of x. The parts
// do not depend on the number of threads, and the sums over parts have a fixed order: the same bits
// with any number of threads.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

#if !defined(REAL)
#define REAL float  // of the functions that JAX calls: each type is a library of its own
#endif

// Bytes of a vector, and rows of a register block: 2 ROWS sums, two weights and one input fit into
// the registers of the instruction set.
#if defined(__AVX512F__)
constexpr int64_t BYTES = 64, ROWS = 8;
#elif defined(__AVX__)
constexpr int64_t BYTES = 32, ROWS = 6;
#else
constexpr int64_t BYTES = 16, ROWS = 4;
#endif
// Rows of a part of the batch, at least, and parts, at most. Weights that do not fit into the cache
// of a core are read from the next one in every step, so that more rows should share them.
constexpr int64_t PART = 16, LARGE_PART = 32, LARGE = 1 << 20, PARTS = 8;
// Rows that are multiplied at once where no step waits for the one before: weights that do not fit
// into the cache are then read once for all of them.
constexpr int64_t CHUNK = 256;
constexpr int64_t AHEAD = 16;  // rows of a panel by which its weights are fetched in advance

inline int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// ---------------------------------------------------------------------------------- vectors

template <class S> struct Types;
template <> struct Types<float> {
  typedef float V __attribute__((vector_size(BYTES)));
  typedef float U __attribute__((vector_size(BYTES), aligned(4), may_alias));
  typedef int32_t I __attribute__((vector_size(BYTES)));
};
template <> struct Types<double> {
  typedef double V __attribute__((vector_size(BYTES)));
  typedef double U __attribute__((vector_size(BYTES), aligned(8), may_alias));
  typedef int64_t I __attribute__((vector_size(BYTES)));
};
template <class S> using Vec = typename Types<S>::V;
template <class S> constexpr int64_t WIDTH = BYTES / sizeof(S);
template <class S> constexpr int64_t PANEL = 2 * WIDTH<S>;

template <class S> inline Vec<S> load(const S* at) {
  return *reinterpret_cast<const typename Types<S>::U*>(at);
}
template <class S> inline void store(S* at, Vec<S> v) {
  *reinterpret_cast<typename Types<S>::U*>(at) = v;
}
template <class S> inline Vec<S> all(S value) { return value - Vec<S>{}; }

// exp(x) = scale (1 + above / below): scale is a power of two, and the fraction the exp(r) - 1 of
// Cephes (Moshier 1992) for the rest r of x in [-ln 2 / 2, ln 2 / 2]. Arguments are cut where the
// result would leave the normal numbers. NaN stays NaN.
template <class S> struct Exp { Vec<S> scale, above, below; };

inline Exp<float> exponential(Vec<float> x) {
  using I = Types<float>::I;
  x = x > 88.0f ? all(88.0f) : x;
  x = x < -87.0f ? all(-87.0f) : x;
  const Vec<float> shifted = x * 1.44269504088896341f + 12582912.0f;  // its low bits are n
  const Vec<float> n = shifted - 12582912.0f;
  x = x - n * 0.693359375f + n * 2.12194440e-4f;
  Vec<float> p = x * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * x + 8.3334519073e-3f;
  p = p * x + 4.1665795894e-2f;
  p = p * x + 1.6666665459e-1f;
  p = p * x + 5.0000001201e-1f;
  p = p * x * x + x;
  return {(Vec<float>)(((I)shifted + 127) << 23), p, all(1.0f)};
}

inline Exp<double> exponential(Vec<double> x) {
  using I = Types<double>::I;
  x = x > 700.0 ? all(700.0) : x;
  x = x < -708.0 ? all(-708.0) : x;
  const Vec<double> shifted = x * 1.4426950408889634074 + 6755399441055744.0;
  const Vec<double> n = shifted - 6755399441055744.0;
  x = x - n * 6.93145751953125e-1 - n * 1.42860682030941723212e-6;
  const Vec<double> xx = x * x;
  const Vec<double> p =
      x * ((xx * 1.26177193074810590878e-4 + 3.02994407707441961300e-2) * xx + 1.0);
  const Vec<double> q = ((xx * 3.00198505138664455042e-6 + 2.52448340349684104192e-3) * xx +
                         2.27265548208155028766e-1) * xx + 2.0;
  return {(Vec<double>)(((I)shifted + 1023) << 52), 2.0 * p, q - p};
}

template <class S> inline Vec<S> sigmoid(Vec<S> x) {
  const auto [scale, above, below] = exponential(-x);
  return below / (below + scale * (below + above));
}

// (exp(2 |x|) - 1) / (exp(2 |x|) + 1), in which nothing cancels near 0.
template <class S> inline Vec<S> hyperbolic(Vec<S> x) {
  const Vec<S> size = x < S(0) ? -x : x;
  const auto [scale, above, below] = exponential(S(2) * size);
  const Vec<S> less = scale * above + (scale - S(1)) * below;
  const Vec<S> y = less / (less + S(2) * below);
  return x < S(0) ? -y : y;
}

// ----------------------------------------------------------------------------------- products

// sums[i] += a[i] b over n inner steps: a block of M rows times one panel. Row i of a is at
// a + i rows, its inner step k at + k inner; that of the panel at b + k PANEL.
template <class S, int64_t M>
inline void multiply(Vec<S> (&sums)[M][2], const S* a, int64_t rows, int64_t inner, const S* b,
                     int64_t n) {
  for (int64_t k = 0; k < n; ++k, a += inner, b += PANEL<S>) {
    const Vec<S> first = load(b), second = load(b + WIDTH<S>);
    __builtin_prefetch(b + AHEAD * PANEL<S>), __builtin_prefetch(b + AHEAD * PANEL<S> + WIDTH<S>);
    for (int64_t i = 0; i < M; ++i) {
      sums[i][0] += a[i * rows] * first;
      sums[i][1] += a[i * rows] * second;
    }
  }
}

// Calls f with the size of a block, of 1 to M rows, as a constant.
template <int64_t M = ROWS, class F> inline void with_size(int64_t size, F&& f) {
  if (size == M) return f(std::integral_constant<int64_t, M>());
  if constexpr (M > 1) with_size<M - 1>(size, f);
}

// Calls f with the begin and the size of each block of rows: as few blocks as ROWS allows, of equal
// size, since a block of few rows takes as long as one of many.
template <class F> inline void in_blocks(int64_t rows, F&& f) {
  const int64_t blocks = (rows + ROWS - 1) / ROWS;
  for (int64_t i = 0; i < blocks; ++i) {
    const int64_t from = rows * i / blocks, size = rows * (i + 1) / blocks - from;
    with_size(size, [&](auto constant) { f(from, constant); });
  }
}

// Asks the system for large pages: the first use of small ones costs as much as the arithmetic.
template <class S> void in_large_pages(S* data, int64_t size) {
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t LARGE_PAGE = 1 << 21;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + LARGE_PAGE - 1) & -LARGE_PAGE;
  const uintptr_t end = reinterpret_cast<uintptr_t>(data + size) & -LARGE_PAGE;
  if (data && begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// Memory of this thread for one use, kept for the next call: fresh pages cost as much as the work.
template <class S, int use> S* scratch(int64_t size) {
  struct Free { void operator()(void* p) const { std::free(p); } };
  thread_local std::unique_ptr<void, Free> memory;
  thread_local int64_t have = 0;
  if (size > have) {
    memory.reset(std::aligned_alloc(64, up(size * sizeof(S), 64)));
    in_large_pages(static_cast<S*>(memory.get()), size);
    have = size;
  }
  return static_cast<S*>(memory.get());
}

// -------------------------------------------------------------------------------------- cells

// The elementwise work of a cell on one vector of units. z[j] is block j of z, which forward
// replaces by what backward needs; backward makes the gradient of z, and of the carry before the
// step.

template <bool relu> struct Elman {
  template <class S> static void forward(Vec<S>* z, Vec<S>& h, Vec<S>&) {
    if constexpr (relu) z[0] = z[0] > S(0) ? z[0] : z[0] != z[0] ? z[0] : Vec<S>{};
    else z[0] = hyperbolic<S>(z[0]);
    h = z[0];
  }
  template <class S>
  static void backward(Vec<S>* z, Vec<S>, Vec<S>, Vec<S>, Vec<S>& dh, Vec<S>&) {
    if constexpr (relu) z[0] = z[0] > S(0) ? dh : Vec<S>{};
    else z[0] = dh * (S(1) - z[0] * z[0]);
    dh = Vec<S>{};
  }
};

struct Lstm {  // i, f, g, o
  template <class S> static void forward(Vec<S>* z, Vec<S>& h, Vec<S>& c) {
    z[0] = sigmoid<S>(z[0]), z[1] = sigmoid<S>(z[1]);
    z[2] = hyperbolic<S>(z[2]), z[3] = sigmoid<S>(z[3]);
    c = z[1] * c + z[0] * z[2];
    h = z[3] * hyperbolic<S>(c);
  }
  template <class S>
  static void backward(Vec<S>* z, Vec<S>, Vec<S> c_before, Vec<S> c, Vec<S>& dh, Vec<S>& dc) {
    const Vec<S> i = z[0], f = z[1], g = z[2], o = z[3], shown = hyperbolic<S>(c);
    dc += dh * o * (S(1) - shown * shown);
    z[0] = dc * g * i * (S(1) - i);
    z[1] = dc * c_before * f * (S(1) - f);
    z[2] = dc * i * (S(1) - g * g);
    z[3] = dh * shown * o * (S(1) - o);
    dc *= f;
    dh = Vec<S>{};
  }
};

struct Gru {  // r, z, and the candidate's sums over x and over h
  template <class S> static void forward(Vec<S>* z, Vec<S>& h, Vec<S>&) {
    z[0] = sigmoid<S>(z[0]), z[1] = sigmoid<S>(z[1]);
    z[2] = hyperbolic<S>(z[2] + z[0] * z[3]);
    h = (S(1) - z[1]) * z[2] + z[1] * h;
  }
  template <class S>
  static void backward(Vec<S>* z, Vec<S> h_before, Vec<S>, Vec<S>, Vec<S>& dh, Vec<S>&) {
    const Vec<S> r = z[0], u = z[1], n = z[2], of_h = z[3];
    const Vec<S> dn = dh * (S(1) - u) * (S(1) - n * n);
    z[0] = dn * of_h * r * (S(1) - r);
    z[1] = dh * (h_before - n) * u * (S(1) - u);
    z[2] = dn;
    z[3] = dn * r;
    dh *= u;
  }
};

// What the rest needs to know of a cell: for each block of z the block of columns of W (the inputs'
// weights) and of U (the recurrent ones) that it adds, -1 for none; whether it has a memory c;
// whether backward needs the gates, or the output alone; and its elementwise work on a row of
// units, of which z has a block at each of `begin`.
struct Source { int x, h; };
template <class S> struct Cell {
  std::vector<Source> blocks;
  bool memory, gates;
  void (*forward)(S* z, const int64_t* begin, int64_t units, S* h, S* c);
  void (*backward)(const S* gates, S* dz, int64_t panel, const int64_t* begin, int64_t units,
                   const S* h_old, const S* c_old, const S* c, S* dh, S* dc);
};

template <class C, class S, int count>
void forward_row(S* z, const int64_t* begin, int64_t units, S* h, S* c) {
  for (int64_t u = 0; u < units; u += WIDTH<S>) {
    Vec<S> block[count], new_h = load(h + u), new_c = load(c + u);
    for (int j = 0; j < count; ++j) block[j] = load(z + begin[j] + u);
    C::template forward<S>(block, new_h, new_c);
    for (int j = 0; j < count; ++j) store(z + begin[j] + u, block[j]);
    store(h + u, new_h), store(c + u, new_c);
  }
}

// dz has its panels `panel` entries apart.
template <class C, class S, int count>
void backward_row(const S* gates, S* dz, int64_t panel, const int64_t* begin, int64_t units,
                  const S* h_old, const S* c_old, const S* c, S* dh, S* dc) {
  for (int64_t u = 0; u < units; u += WIDTH<S>) {
    Vec<S> block[count], new_dh = load(dh + u), new_dc = load(dc + u);
    for (int j = 0; j < count; ++j) block[j] = load(gates + begin[j] + u);
    C::template backward<S>(block, load(h_old + u), load(c_old + u), load(c + u), new_dh, new_dc);
    store(dh + u, new_dh), store(dc + u, new_dc);
    for (int j = 0; j < count; ++j) {
      const int64_t column = begin[j] + u;
      store(dz + column / PANEL<S> * panel + column % PANEL<S>, block[j]);
    }
  }
}

template <class C, class S, int count>
Cell<S> cell_of(std::vector<Source> blocks, bool memory, bool gates) {
  return {blocks, memory, gates, forward_row<C, S, count>, backward_row<C, S, count>};
}

// The cells by their number in native.py.
template <class S> Cell<S> cell_at(int32_t number) {
  switch (number) {
    case 0: return cell_of<Elman<false>, S, 1>({{0, 0}}, false, false);
    case 1: return cell_of<Elman<true>, S, 1>({{0, 0}}, false, false);
    case 2: return cell_of<Lstm, S, 4>({{0, 0}, {1, 1}, {2, 2}, {3, 3}}, true, true);
    default: return cell_of<Gru, S, 4>({{0, 0}, {1, 1}, {2, -1}, {-1, 2}}, false, true);
  }
}

// Where the blocks of z begin, and what each panel adds: one panel never adds different sources.
template <class S> struct Layout {
  int64_t padded, width = 0, panels = 0, columns = 0;  // of a block, z; panels of z; columns of W
  std::vector<int64_t> begin;
  std::vector<char> x, h;  // by panel: whether it reads the inputs, the carry

  Layout(const Cell<S>& cell, int64_t hidden) : padded(up(hidden, WIDTH<S>)) {
    const Source* before = nullptr;
    for (const Source& block : cell.blocks) {
      if (before && ((block.x < 0) != (before->x < 0) || (block.h < 0) != (before->h < 0)))
        width = up(width, PANEL<S>);
      begin.push_back(width);
      width += padded;
      panels = up(width, PANEL<S>) / PANEL<S>;
      x.resize(panels, block.x >= 0), h.resize(panels, block.h >= 0);
      columns = std::max(columns, hidden * (std::max(block.x, block.h) + 1));
      before = &block;
    }
    width = panels * PANEL<S>;
  }
};

// -------------------------------------------------------------------------------------- calls

// The arguments of a call; nullptr for those that are not there.
template <class S> struct Call {
  Cell<S> cell;
  int64_t T, B, D, H;
  bool reverse;
  const S *x, *W, *U, *b, *c;        // [T, B, D], [D, N], [H, N], [N], [N]: bias of x, of h
  const S *h0, *c0;                  // initial carry [B, H]
  const S *h_reset, *c_reset;        // [B, H], the carry at a reset
  const S *mask;                     // [B, H], of the h that the products read
  const bool *valid, *reset, *stop;  // [T, B], [T, B], [T]
  S *ys, *h, *c_last;                // forward: [T, B, H], [B, H], [B, H]
  S *gates, *cs;                     // [T, B, width], [T, B, padded], for the gradient
  const S *d_ys, *d_h, *d_c;         // backward: [T, B, H], [B, H], [B, H]
  S *d_x, *d_W, *d_U, *d_b, *d_bc, *d_h0, *d_c0, *d_h_reset, *d_c_reset, *d_mask;

  // Row k of W and then of U.
  const S* weights(int64_t k, int64_t columns) const {
    return k < D ? W + k * columns : U + (k - D) * columns;
  }
  bool large() const { return int64_t((D + H) * H * cell.blocks.size() * sizeof(S)) > LARGE; }
  int64_t parts() const {
    const int64_t rows = large() ? LARGE_PART : PART;
    return std::max<int64_t>(1, std::min(PARTS, (B + rows - 1) / rows));
  }
  int64_t t_of(int64_t s) const { return reverse ? T - 1 - s : s; }  // of the s-th step
  // Time steps of so many rows that fill a chunk.
  int64_t steps(int64_t rows) const { return std::max<int64_t>(1, std::min(T, CHUNK / rows)); }
  int64_t from(int64_t part) const { return B * part / parts(); }
  bool is(const bool* flags, int64_t t, int64_t row, bool otherwise) const {
    return flags ? flags[t * B + row] : otherwise;
  }
  // The carry that a row read in step t, the s-th: that of a reset, the initial one, or what the
  // step before left. The valid steps of a row follow each other, so before the first is padding.
  void before(int64_t s, int64_t t, int64_t row, int64_t padded, S* h_old, S* c_old) const {
    const int64_t last = reverse ? t + 1 : t - 1, bytes = H * sizeof(S);
    if (is(reset, t, row, false)) {
      std::memcpy(h_old, h_reset + row * H, bytes);
      if (c_old) std::memcpy(c_old, c_reset + row * H, bytes);
    } else if (s == 0 || !is(valid, last, row, true)) {
      std::memcpy(h_old, h0 + row * H, bytes);
      if (c_old) std::memcpy(c_old, c0 + row * H, bytes);
    } else {
      std::memcpy(h_old, ys + (last * B + row) * H, bytes);
      if (c_old) std::memcpy(c_old, cs + (last * B + row) * padded, bytes);
    }
  }
};

// Threads beside the one that calls, which sleep between calls and are there until the process
// ends. With XLA's own pool a part would run on another thread each time, and find nothing of what
// it reads in that core's cache.
class Helpers {
 public:
  explicit Helpers(int64_t number) {
    for (; number > 0; --number) std::thread([this] { serve(); }).detach();
  }
  void run(std::function<void()> task) {
    std::lock_guard<std::mutex> lock(mutex);
    tasks.push(std::move(task));
    filled.notify_one();
  }

 private:
  void serve() {
    while (true) {
      std::unique_lock<std::mutex> lock(mutex);
      filled.wait(lock, [&] { return !tasks.empty(); });
      const auto task = std::move(tasks.front());
      tasks.pop();
      lock.unlock();
      task();
    }
  }

  std::mutex mutex;
  std::condition_variable filled;
  std::queue<std::function<void()>> tasks;
};

// Runs work(0) to work(n - 1), each once, on this thread and on helpers: on one thread, or where
// `threads` is 0 on one for each core. A thread takes what is left, so that this one never waits
// for a part that has not begun.
inline void share(int64_t n, int64_t threads, const std::function<void(int64_t)>& work) {
  struct State {
    std::atomic<int64_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable ended;
  };
  static const int64_t cores = std::min<int64_t>(PARTS, std::thread::hardware_concurrency());
  static Helpers& helpers = *new Helpers(cores - 1);
  auto state = std::make_shared<State>();
  const std::function<void(int64_t)>* call = &work;  // outlives every part, not every task
  auto take = [state, n, call]() {
    for (int64_t at; (at = state->next++) < n;) {
      (*call)(at);
      std::lock_guard<std::mutex> lock(state->mutex);
      if (++state->done == n) state->ended.notify_all();
    }
  };
  for (int64_t other = 1; other < std::min(n, threads ? threads : cores); ++other)
    helpers.run(take);
  take();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->ended.wait(lock, [&] { return state->done == n; });
}

// Denormal numbers are taken as 0, as XLA does.
struct Flushed {
#if defined(__SSE__)
  unsigned before = _mm_getcsr();
  Flushed() { _mm_setcsr(before | 0x8040); }
  ~Flushed() { _mm_setcsr(before); }
#endif
};

// Calls f(k, column, at, n) for each run of weights: n of row k of W and then of U, which begin at
// `at` in that row and at `column` in z, within one panel.
template <class S, class F> void in_runs(const Call<S>& call, const Layout<S>& layout, F&& f) {
  for (int64_t k = 0; k < call.D + call.H; ++k)
    for (size_t j = 0; j < call.cell.blocks.size(); ++j) {
      const int block = k < call.D ? call.cell.blocks[j].x : call.cell.blocks[j].h;
      for (int64_t u = 0, n; block >= 0 && u < call.H; u += n) {
        const int64_t column = layout.begin[j] + u;
        n = std::min(call.H - u, PANEL<S> - column % PANEL<S>);
        f(k, column, block * call.H + u, n);
      }
    }
}

// The weights in panels: [panels][D + H][PANEL], rows of W, then of U.
template <class S> S* pack(const Call<S>& call, const Layout<S>& layout) {
  const int64_t K = call.D + call.H;
  S* packed = scratch<S, 0>(layout.width * K);
  std::fill(packed, packed + layout.width * K, S(0));
  in_runs(call, layout, [&](int64_t k, int64_t column, int64_t at, int64_t n) {
    S* to = packed + (column / PANEL<S> * K + k) * PANEL<S> + column % PANEL<S>;
    std::memcpy(to, call.weights(k, layout.columns) + at, n * sizeof(S));
  });
  return packed;
}

// Their transpose: [panels of D, then of H][width][PANEL].
template <class S> S* pack_transposed(const Call<S>& call, const Layout<S>& layout) {
  const int64_t of_x = up(call.D, PANEL<S>), all = of_x + up(call.H, PANEL<S>);
  S* packed = scratch<S, 1>(layout.width * all);
  std::fill(packed, packed + layout.width * all, S(0));
  in_runs(call, layout, [&](int64_t k, int64_t column, int64_t at, int64_t n) {
    const S* from = call.weights(k, layout.columns) + at;
    const int64_t to = k < call.D ? k : of_x + k - call.D;
    S* first = packed + (to / PANEL<S> * layout.width + column) * PANEL<S> + to % PANEL<S>;
    for (int64_t i = 0; i < n; ++i) first[i * PANEL<S>] = from[i];
  });
  return packed;
}

template <class S>
inline void copy_rows(S* to, int64_t to_row, const S* from, int64_t from_row, int64_t rows,
                      int64_t width) {
  for (int64_t r = 0; r < rows; ++r)
    std::memcpy(to + r * to_row, from + r * from_row, width * sizeof(S));
}

// The values of the rows of one part.
template <class S>
void forward_part(const Call<S>& call, const Layout<S>& layout, const S* packed, const S* bias,
                  int64_t from, int64_t rows) {
  Flushed flushed;
  const int64_t D = call.D, H = call.H, K = D + H, P = layout.padded;
  const int64_t ahead = call.large() ? call.steps(rows) : 1;  // steps whose x is multiplied at once
  S* h = scratch<S, 2>(rows * P * 3 + ahead * rows * layout.width);
  S *c = h + rows * P, *read = c + rows * P, *own_z = read + rows * P;
  std::fill(h, read, S(0));
  copy_rows(h, P, call.h0 + from * H, H, rows, H);
  if (call.cell.memory) copy_rows(c, P, call.c0 + from * H, H, rows, H);
  auto z_of = [&](int64_t s) {
    return call.gates ? call.gates + (call.t_of(s) * call.B + from) * layout.width
                      : own_z + s % ahead * rows * layout.width;
  };
  // Panel p of z: the bias, or what is there, and the products with x and with the carry.
  auto add = [&](int64_t p, S* z, bool begun, const S* x, const S* seen) {
    const S *panel = packed + p * K * PANEL<S>, *b = bias + p * PANEL<S>;
    in_blocks(rows, [&](int64_t row, auto size) {
      constexpr int64_t M = size;
      Vec<S> sums[M][2];
      S* to = z + row * layout.width + p * PANEL<S>;
      for (int64_t i = 0; i < M; ++i) {
        const S* from = begun ? to + i * layout.width : b;
        sums[i][0] = load(from), sums[i][1] = load(from + WIDTH<S>);
      }
      if (x) multiply<S, M>(sums, x + row * D, D, 1, panel, D);
      if (seen) multiply<S, M>(sums, seen + row * P, P, 1, panel + D * PANEL<S>, H);
      for (int64_t i = 0; i < M; ++i)
        store(to + i * layout.width, sums[i][0]),
            store(to + i * layout.width + WIDTH<S>, sums[i][1]);
    });
  };
  for (int64_t s = 0; s < call.T; ++s) {
    const int64_t t = call.t_of(s), at = t * call.B + from;
    if (ahead > 1 && s % ahead == 0)
      for (int64_t p = 0; p < layout.panels; ++p)
        for (int64_t n = s; layout.x[p] && n < std::min(call.T, s + ahead); ++n)
          add(p, z_of(n), false, call.x + (call.t_of(n) * call.B + from) * D, nullptr);
    if (call.reset)
      for (int64_t r = 0; r < rows; ++r)
        if (call.reset[at + r]) {
          copy_rows(h + r * P, P, call.h_reset + (from + r) * H, H, 1, H);
          if (call.cell.memory) copy_rows(c + r * P, P, call.c_reset + (from + r) * H, H, 1, H);
        }
    const S* seen = h;
    if (call.mask) {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t u = 0; u < H; ++u)
          read[r * P + u] = h[r * P + u] * call.mask[(from + r) * H + u];
      seen = read;
    }
    S* z = z_of(s);
    for (int64_t p = 0; p < layout.panels; ++p) {
      const bool begun = ahead > 1 && layout.x[p];
      const S* x = layout.x[p] && !begun ? call.x + at * D : nullptr;
      if (x || layout.h[p] || !begun) add(p, z, begun, x, layout.h[p] ? seen : nullptr);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const bool valid = call.is(call.valid, t, from + r, true);
      if (valid)
        call.cell.forward(z + r * layout.width, layout.begin.data(), P, h + r * P, c + r * P);
      if (call.cell.memory && call.cs) copy_rows(call.cs + (at + r) * P, P, c + r * P, P, 1, P);
      if (call.ys && valid) copy_rows(call.ys + (at + r) * H, H, h + r * P, P, 1, H);
      if (call.ys && !valid) std::fill_n(call.ys + (at + r) * H, H, S(0));
    }
  }
  copy_rows(call.h + from * H, H, h, P, rows, H);
  if (call.cell.memory) copy_rows(call.c_last + from * H, H, c, P, rows, H);
}

template <class S> void forward(const Call<S>& call, int64_t threads) {
  const Layout<S> layout(call.cell, call.H);
  in_large_pages(call.ys, call.T * call.B * call.H);
  in_large_pages(call.gates, call.T * call.B * layout.width);
  in_large_pages(call.cs, call.T * call.B * layout.padded);
  const S* packed = pack<S>(call, layout);
  S* bias = scratch<S, 3>(layout.width);
  std::fill(bias, bias + layout.width, S(0));
  for (size_t j = 0; j < call.cell.blocks.size(); ++j)
    for (int64_t u = 0; u < call.H; ++u) {
      const auto [x, h] = call.cell.blocks[j];
      bias[layout.begin[j] + u] = (x >= 0 ? call.b[x * call.H + u] : S(0)) +
                                  (h >= 0 && call.c ? call.c[h * call.H + u] : S(0));
    }
  share(call.parts(), threads, [&](int64_t part) {
    const int64_t from = call.from(part);
    forward_part<S>(call, layout, packed, bias, from, call.from(part + 1) - from);
  });
}

// The gradient of the rows of one part; those of the weights are summed into `sums`,
// [panels][D + H + 1][PANEL], whose last row is that of the bias.
template <class S>
void backward_part(const Call<S>& call, const Layout<S>& layout, const S* packed, S* sums,
                   int64_t from, int64_t rows) {
  Flushed flushed;
  const int64_t D = call.D, H = call.H, K = D + H + 1, P = layout.padded, width = up(K, WIDTH<S>);
  const int64_t of_h = up(D, PANEL<S>), carry = up(H, PANEL<S>), most = rows * call.steps(rows);
  S* dh = scratch<S, 2>((2 * rows + 3) * P + rows * carry + most * (width + layout.width));
  S *dc = dh + rows * P, *h_old = dc + rows * P, *c_old = h_old + P, *output = c_old + P;
  S *through = output + P, *read = through + rows * carry, *dz = read + most * width;
  std::fill(dh, dz + most * layout.width, S(0));
  std::fill(sums, sums + layout.panels * K * PANEL<S>, S(0));
  copy_rows(dh, P, call.d_h + from * H, H, rows, H);
  if (call.cell.memory) copy_rows(dc, P, call.d_c + from * H, H, rows, H);

  int64_t filled = 0;  // rows of `read` (x, the h that was read, 1) and `dz` that are filled
  // Rows of dz from `first` on times panel k of the transposed weights; put(row, sums) has them.
  auto transposed = [&](int64_t k, int64_t first, int64_t count, auto put) {
    const std::vector<char>& used = k < of_h ? layout.x : layout.h;
    in_blocks(count, [&](int64_t row, auto size) {
      constexpr int64_t M = size;
      Vec<S> sums[M][2] = {};
      for (int64_t p = 0; p < layout.panels; ++p)
        if (used[p])
          multiply<S, M>(sums, dz + (p * most + first + row) * PANEL<S>, PANEL<S>, 1,
                         packed + k * layout.width + p * PANEL<S> * PANEL<S>, PANEL<S>);
      for (int64_t i = 0; i < M; ++i) put(row + i, sums[i]);
    });
  };
  for (int64_t s = call.T - 1; s >= 0; --s) {
    const int64_t t = call.t_of(s), at = t * call.B + from;
    for (int64_t r = 0; r < rows; ++r) {
      S* seen = read + (filled + r) * width;
      S* to = dz + (filled + r) * PANEL<S>;
      if (call.is(call.valid, t, from + r, true)) {
        call.before(s, t, from + r, P, h_old, call.cell.memory ? c_old : nullptr);
        std::memcpy(seen, call.x + (at + r) * D, D * sizeof(S));
        for (int64_t u = 0; u < H; ++u)
          seen[D + u] = call.mask ? h_old[u] * call.mask[(from + r) * H + u] : h_old[u];
        seen[D + H] = S(1);
        if (call.d_ys)
          for (int64_t u = 0; u < H; ++u) dh[r * P + u] += call.d_ys[(at + r) * H + u];
        if (!call.cell.gates) copy_rows(output, P, call.ys + (at + r) * H, H, 1, H);
        const S* gates = call.cell.gates ? call.gates + (at + r) * layout.width : output;
        call.cell.backward(gates, to, most * PANEL<S>, layout.begin.data(), P, h_old, c_old,
                           call.cell.memory ? call.cs + (at + r) * P : c_old, dh + r * P,
                           dc + r * P);
      } else {
        std::fill(seen, seen + width, S(0));
        for (int64_t p = 0; p < layout.panels; ++p)
          std::fill_n(to + p * most * PANEL<S>, PANEL<S>, S(0));
      }
    }
    for (int64_t k = 0; k < carry; k += PANEL<S>)
      transposed(of_h + k, filled, rows, [&](int64_t row, const Vec<S>* sum) {
        S* to = through + row * carry + k;
        store(to, sum[0]), store(to + WIDTH<S>, sum[1]);
      });
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = (from + r) * H;
      S *of_read = through + r * carry, *dh_row = dh + r * P, *dc_row = dc + r * P;
      if (call.mask) {
        call.before(s, t, from + r, P, h_old, nullptr);
        for (int64_t u = 0; u < H; ++u) {
          call.d_mask[row + u] += of_read[u] * h_old[u];
          of_read[u] *= call.mask[row + u];
        }
      }
      for (int64_t u = 0; u < H; ++u) dh_row[u] += of_read[u];
      const bool reset = call.is(call.reset, t, from + r, false);
      if (reset)
        for (int64_t u = 0; u < H; ++u) {
          call.d_h_reset[row + u] += dh_row[u];
          if (call.cell.memory) call.d_c_reset[row + u] += dc_row[u];
        }
      if (reset || (call.stop && call.stop[t])) {
        std::fill(dh_row, dh_row + P, S(0));
        std::fill(dc_row, dc_row + P, S(0));
      }
    }
    filled += rows;
    if (filled < most && s > 0) continue;
    for (int64_t k = 0; call.d_x && k < D; k += PANEL<S>)
      transposed(k, 0, filled, [&](int64_t row, const Vec<S>* sum) {
        const int64_t of = call.t_of(s + (filled - 1 - row) / rows) * call.B + from + row % rows;
        std::memcpy(call.d_x + of * D + k, sum, std::min(PANEL<S>, D - k) * sizeof(S));
      });
    for (int64_t p = 0; p < layout.panels; ++p) {
      auto add = [&](int64_t begin, int64_t end) {
        in_blocks(end - begin, [&](int64_t k, auto size) {
          constexpr int64_t M = size;
          Vec<S> sum[M][2];
          S* to = sums + (p * K + begin + k) * PANEL<S>;
          for (int64_t i = 0; i < M; ++i) {
            sum[i][0] = load(to + i * PANEL<S>);
            sum[i][1] = load(to + i * PANEL<S> + WIDTH<S>);
          }
          multiply<S, M>(sum, read + begin + k, 1, width, dz + p * most * PANEL<S>, filled);
          for (int64_t i = 0; i < M; ++i) {
            store(to + i * PANEL<S>, sum[i][0]);
            store(to + i * PANEL<S> + WIDTH<S>, sum[i][1]);
          }
        });
      };
      if (layout.x[p] && layout.h[p]) {
        add(0, K);
      } else {
        layout.x[p] ? add(0, D) : add(D, D + H);
        add(D + H, K);
      }
    }
    filled = 0;
  }
  copy_rows(call.d_h0 + from * H, H, dh, P, rows, H);
  if (call.cell.memory) copy_rows(call.d_c0 + from * H, H, dc, P, rows, H);
}

template <class S> void backward(const Call<S>& call, int64_t threads) {
  const Layout<S> layout(call.cell, call.H);
  const int64_t K = call.D + call.H + 1, H = call.H, each = layout.width * K;
  const int64_t N = layout.columns;
  const S* packed = pack_transposed<S>(call, layout);
  S* sums = scratch<S, 3>(call.parts() * each);
  for (S* to : {call.d_h_reset, call.d_c_reset, call.d_mask})
    if (to) std::fill(to, to + call.B * H, S(0));
  share(call.parts(), threads, [&](int64_t part) {
    const int64_t from = call.from(part);
    backward_part<S>(call, layout, packed, sums + part * each, from, call.from(part + 1) - from);
  });
  for (int64_t part = 1; part < call.parts(); ++part)
    for (int64_t n = 0; n < each; ++n) sums[n] += sums[part * each + n];
  in_runs(call, layout, [&](int64_t k, int64_t column, int64_t at, int64_t n) {
    S* row = k < call.D ? call.d_W + k * N : call.d_U + (k - call.D) * N;
    const S* from = sums + (column / PANEL<S> * K + k) * PANEL<S> + column % PANEL<S>;
    std::memcpy(row + at, from, n * sizeof(S));
  });
  for (size_t j = 0; j < call.cell.blocks.size(); ++j)
    for (int64_t u = 0; u < H; ++u) {
      const int64_t column = layout.begin[j] + u;
      const S sum = sums[(column / PANEL<S> * K + K - 1) * PANEL<S> + column % PANEL<S>];
      const auto [x, h] = call.cell.blocks[j];
      if (x >= 0) call.d_b[x * H + u] = sum;
      if (h >= 0 && call.d_bc) call.d_bc[h * H + u] = sum;
    }
}

// ------------------------------------------------------------------------------------- handlers

template <class S> using Buffer = ffi::Buffer<std::is_same_v<S, float> ? ffi::F32 : ffi::F64>;

// The arguments and results of a call one after the other; an empty one is nullptr.
struct Reader {
  ffi::RemainingArgs& in;
  ffi::RemainingRets& out;
  size_t arguments = 0, results = 0;

  template <class B> static auto data(B&& buffer) {
    return buffer.element_count() ? buffer.typed_data() : nullptr;
  }
  template <class S> const S* next() { return data(*in.get<Buffer<S>>(arguments++)); }
  const bool* flags() { return data(*in.get<ffi::Buffer<ffi::PRED>>(arguments++)); }
  template <class S> S* result() { return data(**out.get<Buffer<S>>(results++)); }
};

// x, W, U, b, c, h0, c0, h_reset, c_reset, mask, valid, reset (without U its rows follow those of W
// in one array, in the gradient too); for the gradient also stop, ys,
// gates, cs, d_ys, d_h, d_c -> ys, h, c, gates, cs; or d_x, d_W, d_U, d_b, d_bc, d_h0, d_c0,
// d_h_reset, d_c_reset, d_mask.
template <class S, bool gradient>
ffi::Error run(ffi::RemainingArgs in, ffi::RemainingRets out, int32_t cell, bool reverse,
               int32_t threads) {
  Call<S> call = {};
  call.cell = cell_at<S>(cell);
  const auto x = in.get<Buffer<S>>(0)->dimensions(), h0 = in.get<Buffer<S>>(5)->dimensions();
  call.T = x[0], call.B = x[1], call.D = x[2], call.H = h0[1], call.reverse = reverse;
  Reader reader{in, out};
  for (const S** to : {&call.x, &call.W, &call.U, &call.b, &call.c, &call.h0, &call.c0,
                       &call.h_reset, &call.c_reset, &call.mask})
    *to = reader.next<S>();
  const int64_t of_W = call.D * in.get<Buffer<S>>(1)->dimensions()[1];
  if (!call.U) call.U = call.W + of_W;
  call.valid = reader.flags(), call.reset = reader.flags();
  if constexpr (gradient) {
    call.stop = reader.flags();
    call.ys = const_cast<S*>(reader.next<S>()), call.gates = const_cast<S*>(reader.next<S>());
    call.cs = const_cast<S*>(reader.next<S>());
    call.d_ys = reader.next<S>(), call.d_h = reader.next<S>(), call.d_c = reader.next<S>();
    for (S** to : {&call.d_x, &call.d_W, &call.d_U, &call.d_b, &call.d_bc, &call.d_h0,
                   &call.d_c0, &call.d_h_reset, &call.d_c_reset, &call.d_mask})
      *to = reader.result<S>();
    if (!call.d_U) call.d_U = call.d_W + of_W;
  } else {
    for (S** to : {&call.ys, &call.h, &call.c_last, &call.gates, &call.cs})
      *to = reader.result<S>();
  }
  if constexpr (gradient) backward<S>(call, threads);
  else forward<S>(call, threads);
  return ffi::Error::Success();
}

auto binding() {
  return ffi::Ffi::Bind()
      .RemainingArgs()
      .RemainingRets()
      .Attr<int32_t>("cell")
      .Attr<bool>("reverse")
      .Attr<int32_t>("threads");
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnlab_forward, (run<REAL, false>), binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnlab_backward, (run<REAL, true>), binding());

// The widths of the gates and of the memory that a step keeps, for a cell of so many units.
extern "C" void rnnlab_widths(int32_t number, int64_t hidden, int64_t* widths) {
  const auto cell = cell_at<REAL>(number);
  const Layout layout(cell, hidden);
  widths[0] = cell.gates ? layout.width : 0, widths[1] = cell.memory ? layout.padded : 0;
}
