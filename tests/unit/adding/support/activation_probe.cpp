// Prints the value and the slope of an activation function, by the kernels of `act`, at each number of the command line:
//     activation_probe <function> <x>…
#include "cpu/kernel.hpp"

#include <cstdio>
#include <cstdlib>

namespace temper::TEMPER_ISA {
extern const Kernel act_kernel, act_grad_kernel;
}

using namespace temper;

int main(int argc, char** argv) {
    const int64_t n = argc - 2;
    std::vector<float> x, one(static_cast<size_t>(n), 1.0f), value(one), slope(one);
    for (int i = 2; i < argc; i++) x.push_back(std::strtof(argv[i], nullptr));
    const auto tensor = [n](std::vector<float>& data) { return Tensor{DType::f32, {n}, data.data()}; };
    const auto run = [&](const Kernel& kernel, std::vector<Tensor> in, std::vector<Tensor> out) {
        const Call call{{std::move(in), std::move(out), {kernel.op, {{"fn", std::string(argv[1])}}}}, {}, nullptr};
        const auto prepared = kernel.prepare(call);
        if (prepared == nullptr) std::exit(1);
        prepared->run(false);
    };
    run(TEMPER_ISA::act_kernel, {tensor(x)}, {tensor(value)});
    run(TEMPER_ISA::act_grad_kernel, {tensor(one), tensor(x)}, {tensor(slope)});
    for (size_t i = 0; i < x.size(); i++) std::printf("%.9g %.9g\n", value[i], slope[i]);
}
