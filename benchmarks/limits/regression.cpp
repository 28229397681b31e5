// What the machine can do on SGD for linear regression: the limit the JAX program is compared with.
//
//   w <- w - eta / B * sum_j (x_j . w - y_j) x_j,   the B rows drawn uniformly with replacement,
//
// in float32, many lanes, from w = 0. Indices come from the package's generator: threefry-2x32 with 20 rounds keyed per
// lane, one counter per (step, slot), the index the high part of N times the block's 64 bits.
//
// A gather loop: the rows are read where they lie, nothing is copied. Rows are padded to whole 512-bit vectors, which
// costs nothing from d = 64 on and is what one would do at d = 10. GCC's vector extensions, no intrinsics.
//
// Usage: regression DATA N DIM BATCH LANES STEPS THREADS REPEATS LEARNING_RATE
// DATA: raw float32, N rows of DIM features, then N targets, then the DIM numbers of the minimum.
// Prints, one line a repeat: wall seconds, CPU seconds; then the accuracy number: mean and mean square over lanes of
// the squared distance from the minimum.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

namespace {

constexpr int kGroup = 16;      // lanes whose indices are drawn together: one 512-bit vector of words
constexpr int kMostBatch = 64;  // of one draw
constexpr std::uint32_t kParity = 0x1BD11BDAu;

inline std::uint32_t rotated(std::uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

inline void threefry(std::uint32_t k0, std::uint32_t k1, std::uint32_t c0, std::uint32_t c1, std::uint32_t& out0,
                     std::uint32_t& out1) {
  const std::uint32_t k2 = k0 ^ k1 ^ kParity;
  std::uint32_t x0 = c0 + k0, x1 = c1 + k1;
#define ROUND(r) \
  x0 += x1;      \
  x1 = rotated(x1, r) ^ x0;
#define FOUR_A ROUND(13) ROUND(15) ROUND(26) ROUND(6)
#define FOUR_B ROUND(17) ROUND(29) ROUND(16) ROUND(24)
  FOUR_A x0 += k1; x1 += k2 + 1u;
  FOUR_B x0 += k2; x1 += k0 + 2u;
  FOUR_A x0 += k0; x1 += k1 + 3u;
  FOUR_B x0 += k1; x1 += k2 + 4u;
  FOUR_A x0 += k2; x1 += k0 + 5u;
#undef FOUR_A
#undef FOUR_B
#undef ROUND
  out0 = x0;
  out1 = x1;
}

struct Problem {
  const float* rows;  // N x kDim, padded
  const float* targets;
  std::uint32_t num_examples;
  int batch;
  float rate;
  std::uint32_t steps;
};

// Sixteen floats, one 512-bit vector (two of 256 bits, or four of 128, on lesser machines).
typedef float Vector __attribute__((vector_size(64)));
constexpr int kWidth = 16;
constexpr int kChunk = 8;  // examples whose dot products are summed across their vectors together

// Return in element e % 8 (twice) the sum over the sixteen elements of the e-th vector: a transposed tree, three
// operations a sum where one sum at a time takes eight.
inline Vector sums(const Vector* part) {
#define JOIN(a, b, ...) (__builtin_shufflevector(a, b, __VA_ARGS__))
  Vector four[4], two[2];
  for (int i = 0; i < 4; ++i) {
    const Vector a = part[2 * i], b = part[2 * i + 1];
    four[i] = JOIN(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
              JOIN(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
  for (int i = 0; i < 2; ++i) {
    const Vector a = four[2 * i], b = four[2 * i + 1];
    two[i] = JOIN(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
             JOIN(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
  const Vector one = JOIN(two[0], two[1], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
                     JOIN(two[0], two[1], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  return one + JOIN(one, one, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
#undef JOIN
}

// Take one lane by one step; kVectors is the padded dimension in vectors, known to the compiler so that short params
// stay in registers. Batches are padded to whole chunks with rows of weight zero.
template <int kVectors>
inline void step_lane(const Problem& problem, const std::uint32_t* indices, Vector* __restrict w, float factor) {
  Vector gradient[kVectors] = {};
  for (int first = 0; first < problem.batch; first += kChunk) {
    const Vector* row[kChunk];
    Vector part[kChunk] = {};
    alignas(64) float residual[kWidth] = {};
    for (int j = 0; j < kChunk; ++j) {
      const std::uint32_t index = indices[(first + j) * kGroup];
      row[j] = reinterpret_cast<const Vector*>(problem.rows) + std::size_t(index) * kVectors;
      residual[j] = problem.targets[index];
    }
    for (int v = 0; v < kVectors; ++v) {
      for (int j = 0; j < kChunk; ++j) part[j] += row[j][v] * w[v];
    }
    const Vector dots = sums(part);
    for (int j = 0; j < kChunk; ++j) residual[j] = first + j < problem.batch ? dots[j] - residual[j] : 0.0f;
    for (int v = 0; v < kVectors; ++v) {
      Vector even = gradient[v], odd = {};
      for (int j = 0; j < kChunk; j += 2) {
        even += residual[j] * row[j][v];
        odd += residual[j + 1] * row[j + 1][v];
      }
      gradient[v] = even + odd;
    }
  }
  for (int v = 0; v < kVectors; ++v) w[v] -= factor * gradient[v];
}

template <int kVectors>
void advance(const Problem& problem, std::uint32_t first_lane, float* params) {
  alignas(64) std::uint32_t key0[kGroup], key1[kGroup];
  alignas(64) std::uint32_t indices[kMostBatch][kGroup];
  for (int i = 0; i < kGroup; ++i) threefry(0u, 42u, first_lane + i, 0u, key0[i], key1[i]);
  const float factor = problem.rate / problem.batch;
  const int drawn = (problem.batch + kChunk - 1) / kChunk * kChunk;
  for (std::uint32_t step = 0; step < problem.steps; ++step) {
    for (int j = 0; j < drawn; ++j) {
#pragma GCC ivdep
      for (int i = 0; i < kGroup; ++i) {
        std::uint32_t high, low;
        threefry(key0[i], key1[i], step, j, high, low);
        const std::uint64_t lower = (std::uint64_t(low) * problem.num_examples) >> 32;
        indices[j][i] = (std::uint64_t(high) * problem.num_examples + lower) >> 32;
      }
    }
    for (int i = 0; i < kGroup; ++i) {
      step_lane<kVectors>(problem, &indices[0][i], reinterpret_cast<Vector*>(params) + i * kVectors, factor);
    }
  }
}

using Advance = void (*)(const Problem&, std::uint32_t, float*);

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

float* aligned(std::size_t count) {
  void* memory = std::aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
  auto* values = static_cast<float*>(memory);
  for (std::size_t i = 0; i < count; ++i) values[i] = 0;
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 10) {
    std::fprintf(stderr, "usage: %s DATA N DIM BATCH LANES STEPS THREADS REPEATS LEARNING_RATE\n", argv[0]);
    return 2;
  }
  const int n = std::atoi(argv[2]), dim = std::atoi(argv[3]), batch = std::atoi(argv[4]);
  const int lanes = std::atoi(argv[5]) / kGroup * kGroup, threads = std::atoi(argv[7]), repeats = std::atoi(argv[8]);
  Advance run = nullptr;
  int padded = 0;
#define TRY(d) if (!run && dim <= d) { run = advance<d / kWidth>; padded = d; }
  TRY(16) TRY(32) TRY(64) TRY(128) TRY(256)
#undef TRY
  if (!run || batch > kMostBatch) {
    std::fprintf(stderr, "DIM must be at most 256 and BATCH at most %d\n", kMostBatch);
    return 2;
  }
  float* rows = aligned(std::size_t(n) * padded);
  float* targets = aligned(n);
  std::vector<float> minimum(dim);
  std::FILE* file = std::fopen(argv[1], "rb");
  bool read = file != nullptr;
  for (int i = 0; read && i < n; ++i) read = std::fread(rows + std::size_t(i) * padded, 4, dim, file) == std::size_t(dim);
  read = read && std::fread(targets, 4, n, file) == std::size_t(n);
  read = read && std::fread(minimum.data(), 4, dim, file) == std::size_t(dim);
  if (!read) {
    std::fprintf(stderr, "cannot read %s\n", argv[1]);
    return 2;
  }
  std::fclose(file);
  const Problem problem{rows, targets, static_cast<std::uint32_t>(n), batch, static_cast<float>(std::atof(argv[9])),
                        static_cast<std::uint32_t>(std::atol(argv[6]))};
  float* params = aligned(std::size_t(lanes) * padded);
  for (int repeat = 0; repeat < repeats; ++repeat) {
    for (std::size_t i = 0; i < std::size_t(lanes) * padded; ++i) params[i] = 0;
    const double cpu = cpu_seconds();
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> team;
    for (int t = 0; t < threads; ++t) {
      team.emplace_back([&, t] {
        const int groups = lanes / kGroup, from = groups * t / threads, to = groups * (t + 1) / threads;
        for (int g = from; g < to; ++g) run(problem, g * kGroup, params + std::size_t(g) * kGroup * padded);
      });
    }
    for (auto& member : team) member.join();
    const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("time %.6f %.6f\n", wall, cpu_seconds() - cpu);
  }
  double mean = 0, square = 0;
  for (int i = 0; i < lanes; ++i) {
    double distance = 0;
    for (int k = 0; k < dim; ++k) {
      const double off = params[std::size_t(i) * padded + k] - minimum[k];
      distance += off * off;
    }
    mean += distance;
    square += distance * distance;
  }
  std::printf("result %d %.9g %.9g\n", lanes, mean / lanes, square / lanes);
}
