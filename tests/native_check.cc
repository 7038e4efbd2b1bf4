// Calls of native.cc on random shapes and masks, to be run under the address and undefined-behaviour
// sanitizers, with buffers of exactly the right size: the gradient is the derivative of the values
// along a random direction, by differences, and one thread gives the bits of two.

#include "native.cc"

#include <cstdio>
#include <random>

namespace {

std::mt19937 randomness(0);

int64_t whole(int64_t from, int64_t to) {
  return std::uniform_int_distribution<int64_t>(from, to)(randomness);
}

using Numbers = std::vector<double>;

Numbers normal(int64_t size, double scale) {
  Numbers numbers(size);
  std::normal_distribution<double> distribution(0, scale);
  for (double& number : numbers) number = distribution(randomness);
  return numbers;
}

// What is differentiated, in the order of native.py's Floats; an empty one is not there.
enum { X, W, U, BIAS, BIAS_H, H0, C0, H_RESET, C_RESET, MASK, INPUTS };

struct Case {
  int32_t cell;
  Call<double> call = {};
  Numbers in[INPUTS], weights, d_h, d_c;
  std::unique_ptr<bool[]> valid, reset, stop;

  // large: of more weights than a cache holds.
  Case(int64_t most, bool large) : cell(large ? whole(2, 3) : whole(0, 3)) {
    call.cell = cell_at<double>(cell);
    call.T = large ? whole(9, 20) : whole(1, 9), call.B = whole(1, most);
    call.D = large ? 250 : whole(1, most), call.H = large ? 100 : whole(1, most);
    call.reverse = whole(0, 1);
    const int64_t N = Layout<double>(call.cell, call.H).columns, rows = call.B * call.H;
    const bool resets = whole(0, 1), memory = call.cell.memory;
    const int64_t sizes[INPUTS] = {
        call.T * call.B * call.D, call.D * N, call.H * N, N, cell == 3 ? N : 0, rows,
        memory ? rows : 0, resets ? rows : 0, resets && memory ? rows : 0, whole(0, 1) * rows};
    for (int i = 0; i < INPUTS; ++i) in[i] = normal(sizes[i], 1);
    for (double& weight : in[W]) weight /= std::sqrt(call.D);
    for (double& weight : in[U]) weight /= std::sqrt(call.H);
    weights = normal(call.T * rows, 1), d_h = normal(rows, 1), d_c = normal(memory ? rows : 0, 1);
    if (whole(0, 1)) {
      valid.reset(new bool[call.T * call.B]);
      for (int64_t row = 0; row < call.B; ++row) {
        const int64_t length = whole(0, call.T);
        for (int64_t t = 0; t < call.T; ++t) valid[t * call.B + row] = t < length;
      }
    }
    if (resets) {
      reset.reset(new bool[call.T * call.B]);
      for (int64_t i = 0; i < call.T * call.B; ++i)
        reset[i] = (!valid || valid[i]) && whole(0, 3) == 0;
    }
    call.valid = valid.get(), call.reset = reset.get();
  }

  // The sum of all results, each times its weight; keeps what the gradient needs.
  double total(const Numbers* values, int64_t threads, Numbers& ys, Numbers& gates, Numbers& cs) {
    const Layout<double> layout(call.cell, call.H);
    const int64_t rows = call.B * call.H;
    Numbers h(rows), c(d_c.size());
    ys.resize(call.T * rows), gates.resize(call.T * call.B * layout.width);
    cs.resize(call.cell.memory ? call.T * call.B * layout.padded : 0);
    const double** at[INPUTS] = {&call.x,  &call.W,  &call.U,       &call.b,       &call.c,
                                 &call.h0, &call.c0, &call.h_reset, &call.c_reset, &call.mask};
    for (int i = 0; i < INPUTS; ++i) *at[i] = values[i].empty() ? nullptr : values[i].data();
    call.ys = ys.data(), call.gates = gates.data(), call.cs = cs.data();
    call.h = h.data(), call.c_last = c.data();
    forward<double>(call, threads);
    double sum = 0;
    for (size_t i = 0; i < ys.size(); ++i) sum += ys[i] * weights[i];
    for (size_t i = 0; i < h.size(); ++i) sum += h[i] * d_h[i];
    for (size_t i = 0; i < c.size(); ++i) sum += c[i] * d_c[i];
    return sum;
  }

  // The gradient of `total` by each input.
  std::vector<Numbers> gradient(int64_t threads) {
    Numbers ys, gates, cs;
    total(in, threads, ys, gates, cs);
    std::vector<Numbers> out;
    for (const Numbers& numbers : in) out.emplace_back(numbers.size());
    double** at[INPUTS] = {&call.d_x,  &call.d_W,  &call.d_U,       &call.d_b,       &call.d_bc,
                           &call.d_h0, &call.d_c0, &call.d_h_reset, &call.d_c_reset, &call.d_mask};
    for (int i = 0; i < INPUTS; ++i) *at[i] = out[i].empty() ? nullptr : out[i].data();
    call.d_ys = weights.data(), call.d_h = d_h.data();
    call.d_c = d_c.empty() ? nullptr : d_c.data();
    backward<double>(call, threads);
    return out;
  }

  bool right() {
    const std::vector<Numbers> one = gradient(1);
    if (one != gradient(2)) return false;
    if (cell == 1) return true;  // relu is not smooth
    constexpr double step = 1e-5;
    Numbers more[INPUTS], less[INPUTS], ys, gates, cs;
    double expected = 0, size = 0;
    for (int i = 0; i < INPUTS; ++i) {
      const Numbers direction = normal(in[i].size(), 1);
      more[i] = less[i] = in[i];
      for (size_t k = 0; k < direction.size(); ++k) {
        more[i][k] += step * direction[k], less[i][k] -= step * direction[k];
        expected += one[i][k] * direction[k], size += std::abs(one[i][k] * direction[k]);
      }
    }
    const double change = total(more, 1, ys, gates, cs) - total(less, 1, ys, gates, cs);
    return std::abs(change / (2 * step) - expected) <= 1e-6 * (1 + size);
  }
};

}  // namespace

// How many cases, and the most of each dimension but time.
int main(int count, char** arguments) {
  const int cases = count > 1 ? std::atoi(arguments[1]) : 200;
  const int64_t most = count > 2 ? std::atoi(arguments[2]) : 40;
  for (int number = 0; number < cases; ++number) {
    Case random(most, !number);
    if (random.right()) continue;
    const auto& call = random.call;
    std::printf("case %d: cell %d, T %ld, B %ld, D %ld, H %ld\n", number, random.cell,
                static_cast<long>(call.T), static_cast<long>(call.B), static_cast<long>(call.D),
                static_cast<long>(call.H));
    return 1;
  }
  return 0;
}
