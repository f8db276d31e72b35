// einsum: y[result] = Σ over the other letters of the product of the operands. A loop over the result, and in it one over what
// is summed, in double precision and in the order of the letters: slow beside matmul, and the same bits on any number of threads.
#include "../ops/einsum.hpp"
#include "loops.hpp"

namespace temper::TEMPER_ISA {

namespace {

// An operand, read in its own type.
struct Source {
    const void* data;
    DType dtype;

    double at(int64_t i) const {
        switch (dtype) {
        case DType::bf16: return to_float(static_cast<const bf16*>(data)[i]);
        case DType::f16: return to_float(static_cast<const f16*>(data)[i]);
        default: return static_cast<const float*>(data)[i];
        }
    }
};

// Counts through all indices of some letters, the last the fastest, and says where the operands are.
class Odometer {
  public:
    Odometer(const std::vector<Einsum::Letter>& letters, const std::vector<std::vector<int64_t>>& strides) : letters_(letters), strides_(strides) {}

    // Moves `offsets`, one an operand, to the n-th index.
    void start(int64_t n, int64_t* offsets) {
        for (size_t d = letters_.size(); d-- > 0;) {
            index_[d] = n % letters_[d].size;
            n /= letters_[d].size;
            for (size_t k = 0; k < strides_.size(); k++) offsets[k] += index_[d] * strides_[k][d];
        }
    }

    void advance(int64_t* offsets) {
        for (size_t d = letters_.size(); d-- > 0;) {
            const bool carries = ++index_[d] == letters_[d].size;
            for (size_t k = 0; k < strides_.size(); k++) offsets[k] += carries ? (1 - letters_[d].size) * strides_[k][d] : strides_[k][d];
            if (!carries) return;
            index_[d] = 0;
        }
    }

  private:
    const std::vector<Einsum::Letter>& letters_;
    const std::vector<std::vector<int64_t>>& strides_;
    int64_t index_[Einsum::MAX_LETTERS] = {};
};

struct Product {
    const Call& call;
    Einsum einsum;
    int64_t terms = 1; // of each element

    explicit Product(const Call& call) : call(call), einsum(parse_einsum(call)) {
        for (const Einsum::Letter& letter : einsum.summed) terms *= letter.size;
    }

    double element(const Source* sources, const int64_t* from) const {
        const size_t operands = call.in.size();
        int64_t offsets[Einsum::MAX_OPERANDS];
        std::copy_n(from, operands, offsets);
        Odometer summed(einsum.summed, einsum.summed_strides);
        double sum = 0;
        for (int64_t n = 0; n < terms; n++) {
            double product = sources[0].at(offsets[0]);
            for (size_t k = 1; k < operands; k++) product *= sources[k].at(offsets[k]);
            sum += product;
            summed.advance(offsets);
        }
        return sum;
    }

    void run() const {
        const Tensor& y = call.out[0];
        Source sources[Einsum::MAX_OPERANDS];
        for (size_t k = 0; k < call.in.size(); k++) sources[k] = {call.in[k].data, call.in[k].dtype};
        const int64_t n = y.elements();
        const int64_t task_elements = std::max<int64_t>(1, 4096 / std::max<int64_t>(1, terms));
        with_types(
            [&](auto* to) {
                parallel_for(threads_for(call.threads, n * terms), ceil_div(n, task_elements), [&](int64_t task) {
                    int64_t offsets[Einsum::MAX_OPERANDS] = {};
                    Odometer result(einsum.result, einsum.result_strides);
                    result.start(task * task_elements, offsets);
                    for (int64_t i = task * task_elements; i < std::min(n, (task + 1) * task_elements); i++) {
                        put(to + i, static_cast<float>(element(sources, offsets)));
                        result.advance(offsets);
                    }
                });
            },
            y);
    }
};

std::unique_ptr<Prepared> prepare(const Call& call) {
    return prepared([product = Product(call)](bool) { product.run(); });
}

} // namespace

extern const Kernel einsum_kernel = {"einsum", no_workspace, prepare};

} // namespace temper::TEMPER_ISA
