// global_norm: norms[i] = ‖gᵢ‖ and norm = √(Σ ‖gᵢ‖²). Squares are summed in double precision over fixed blocks, whose
// sums are then added in order: the same bits on any number of threads, and no overflow.
#include "loops.hpp"

#include <cmath>

namespace temper::TEMPER_ISA {

constexpr int64_t BLOCK = 16384;

static size_t workspace(const Call& call) {
    size_t blocks = 0;
    for (const Tensor& g : call.in) blocks += static_cast<size_t>(ceil_div(g.elements(), BLOCK));
    return blocks * sizeof(double);
}

using half_vf [[gnu::vector_size(VL * 2), gnu::aligned(4), gnu::may_alias]] = float;
using vd [[gnu::vector_size(VL * 4)]] = double;

static double sum_of_squares(const float* g, int64_t n) {
    constexpr int width = VL / 2; // doubles in a vector
    vd sums[4] = {};
    int64_t i = 0;
    for (; i + 4 * width <= n; i += 4 * width)
        for (int c = 0; c < 4; c++) {
            const vd v = __builtin_convertvector(*reinterpret_cast<const half_vf*>(g + i + c * width), vd);
            sums[c] += v * v;
        }
    const vd total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    double sum = 0;
    for (int lane = 0; lane < width; lane++) sum += total[lane];
    for (; i < n; i++) sum += static_cast<double>(g[i]) * g[i];
    return sum;
}

// `ends`: of each tensor's blocks, counted over all.
static void run(const Call& call, const std::vector<int64_t>& ends) {
    double* sums = static_cast<double*>(call.workspace);
    parallel_for(call.threads, ends.back(), [&](int64_t block) {
        const size_t i = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), block) - ends.begin());
        const int64_t from = (block - (i > 0 ? ends[i - 1] : 0)) * BLOCK;
        sums[block] = sum_of_squares(call.in[i].as<float>() + from, std::min(BLOCK, call.in[i].elements() - from));
    });

    double total = 0;
    for (size_t i = 0; i < call.in.size(); i++) {
        double sum = 0;
        for (int64_t b = 0; b < ceil_div(call.in[i].elements(), BLOCK); b++) sum += *sums++;
        call.out[1].as<float>()[i] = static_cast<float>(std::sqrt(sum));
        total += sum;
    }
    *call.out[0].as<float>() = static_cast<float>(std::sqrt(total));
}

static std::unique_ptr<Prepared> prepare(const Call& call) {
    std::vector<int64_t> ends;
    for (const Tensor& g : call.in) ends.push_back((ends.empty() ? 0 : ends.back()) + ceil_div(g.elements(), BLOCK));
    return prepared([&call, ends = std::move(ends)](bool) { run(call, ends); });
}

extern const Kernel global_norm_kernel = {"global_norm", workspace, prepare};

} // namespace temper::TEMPER_ISA
