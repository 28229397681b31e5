// What the machine can do on the double well, one particle per vector lane: the limit the JAX program is compared with.
//
// Overdamped Langevin in V(x) = (x^2 - 1)^2 / 4 by Euler-Maruyama in float32, from x = -1, with the step of the first
// x > 0.5 of every lane recorded. The generator is the package's: threefry-2x32 with 20 rounds, keyed per lane, one
// counter per (step, slot), and Box-Muller with a polynomial logarithm and sine.
//
//   single: one normal number a block, as the package draws them.
//   pair:   both numbers of the Box-Muller pair, for two steps. Half the blocks: what another addressing could reach.
//
// Plain loops over arrays of 64 lanes that stay in registers or in the first cache for all steps; the vectors are the
// compiler's (g++ -O3 -march=native -mprefer-vector-width=512 -fno-math-errno -fno-trapping-math). No fast-math: the
// rounding is IEEE's.
//
// Usage: well MODE LANES STEPS THREADS REPEATS STEP_SIZE TEMPERATURE
// Prints, one line a repeat: wall seconds, CPU seconds; then the accuracy numbers.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kBlock = 64;  // lanes that advance together: four 512-bit vectors hide each other's latency
constexpr std::uint32_t kParity = 0x1BD11BDAu;

struct alignas(64) Words {
  std::uint32_t at[kBlock];
};
struct alignas(64) Floats {
  float at[kBlock];
};

inline std::uint32_t rotated(std::uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

// One block: every argument is a scalar of one lane; the loop over lanes around it is what gets vectorised.
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

inline float as_float(std::int32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline std::int32_t as_bits(float value) {
  std::int32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

// -2 log u for u the centre of the word's cell of (0, 1); the polynomial is the package's.
inline float minus_two_log(std::uint32_t word) {
  const std::int32_t sign = static_cast<std::int32_t>(word) >> 31;
  const float nearer = static_cast<float>(static_cast<std::int32_t>(word ^ static_cast<std::uint32_t>(sign))) + 0.5f;
  const std::int32_t bits = as_bits(nearer);
  const float mantissa = as_float((bits & 0x007FFFFF) | 0x3F800000);
  const float g = sign ? nearer * 4.656612873077393e-10f : 2.0f - mantissa;
  const std::int32_t exponent = sign ? 0 : 158 - (bits >> 23);
  float p = 0.00552456453f;
  p = p * g - 0.0128050344f;
  p = p * g + 0.018878812f;
  p = p * g - 0.00564809004f;
  p = p * g + 0.0164772775f;
  p = p * g + 0.030461289f;
  p = p * g + 0.0834078938f;
  p = p * g + 0.249997616f;
  return (static_cast<float>(exponent) * 1.3862943611198906f + g) + g * g * p;
}

inline float quarter_sine(float t) {
  const float s = t * t;
  float p = 0.000150169959f;
  p = p * s - 0.0046712379f;
  p = p * s + 0.0796881765f;
  p = p * s - 0.64596343f;
  p = p * s + 0.570796311f;
  return t + t * p;
}

inline float fraction(std::uint32_t word) {
  return (static_cast<float>(static_cast<std::int32_t>(word)) + 0.5f) * 4.656612873077393e-10f;
}

struct Setup {
  std::uint32_t root0 = 0, root1 = 42;
  float dt, amplitude;
  std::uint32_t steps;
};

// The loops over lanes are short and fixed, the compiler unrolls them into independent vectors.
template <bool kPair>
void advance(const Setup& setup, std::uint32_t first_lane, float* x_out, std::uint32_t* exit_out) {
  Words key0, key1, exits;
  Floats x;
  for (int i = 0; i < kBlock; ++i) {
    threefry(setup.root0, setup.root1, first_lane + i, 0u, key0.at[i], key1.at[i]);
    x.at[i] = -1.0f;
    exits.at[i] = 0xFFFFFFFFu;
  }
  const float dt = setup.dt, amplitude = setup.amplitude;
  const std::uint32_t stride = kPair ? 2 : 1;
  for (std::uint32_t step = 0; step < setup.steps; step += stride) {
#pragma GCC ivdep
    for (int i = 0; i < kBlock; ++i) {
      std::uint32_t a, b;
      threefry(key0.at[i], key1.at[i], step, 0u, a, b);
      const float radius = std::sqrt(minus_two_log(a));
      const float t = fraction(b);
      float w = x.at[i];
      w += -dt * (w * (w * w - 1.0f)) + amplitude * (radius * quarter_sine(t));
      std::uint32_t e = exits.at[i];
      e = std::min(e, w > 0.5f ? step + 1u : 0xFFFFFFFFu);
      if (kPair) {
        // The cosine, with a sign from the last bit of the radius word: a full circle from half a one.
        const float cosine = quarter_sine(1.0f - std::fabs(t));
        w += -dt * (w * (w * w - 1.0f)) + amplitude * (radius * ((a & 1u) ? -cosine : cosine));
        e = std::min(e, w > 0.5f ? step + 2u : 0xFFFFFFFFu);
      }
      x.at[i] = w;
      exits.at[i] = e;
    }
  }
  std::memcpy(x_out, x.at, sizeof x.at);
  std::memcpy(exit_out, exits.at, sizeof exits.at);
}

double cpu_seconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fprintf(stderr, "usage: %s single|pair LANES STEPS THREADS REPEATS STEP_SIZE TEMPERATURE\n", argv[0]);
    return 2;
  }
  const bool pair = std::string(argv[1]) == "pair";
  const int lanes = std::atoi(argv[2]) / kBlock * kBlock;
  const int threads = std::atoi(argv[4]), repeats = std::atoi(argv[5]);
  Setup setup;
  setup.steps = static_cast<std::uint32_t>(std::atol(argv[3]));
  setup.dt = static_cast<float>(std::atof(argv[6]));
  setup.amplitude = static_cast<float>(std::sqrt(2 * std::atof(argv[7]) * std::atof(argv[6])));
  std::vector<float> x(lanes);
  std::vector<std::uint32_t> exits(lanes);
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const double cpu = cpu_seconds();
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> team;
    for (int t = 0; t < threads; ++t) {
      team.emplace_back([&, t] {
        const int blocks = lanes / kBlock, from = blocks * t / threads, to = blocks * (t + 1) / threads;
        for (int b = from; b < to; ++b) {
          auto* run = pair ? advance<true> : advance<false>;
          run(setup, b * kBlock, &x[b * kBlock], &exits[b * kBlock]);
        }
      });
    }
    for (auto& member : team) member.join();
    const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::printf("time %.6f %.6f\n", wall, cpu_seconds() - cpu);
  }
  double mean = 0, square = 0, exited = 0, restricted = 0, restricted2 = 0;
  for (int i = 0; i < lanes; ++i) {
    mean += x[i];
    square += double(x[i]) * x[i];
    exited += exits[i] <= setup.steps;
    const double time = std::min(exits[i], setup.steps);
    restricted += time;
    restricted2 += time * time;
  }
  std::printf("result %d %.9g %.9g %.9g %.9g %.9g\n", lanes, mean / lanes, square / lanes, exited / lanes,
              restricted / lanes, restricted2 / lanes);
}
