// The numbers of a step that the host gives to an optimizer, in the order of its input slot.
#pragma once

namespace temper {

// The input slot `adamw_scalars`; components/optim/adamw.ts computes it for each step t, from 1.
struct AdamwScalars {
    float lr;
    float beta1, beta2;
    float eps;
    float bias_correction1; // 1 − beta1ᵗ
    float bias_correction2; // 1 − beta2ᵗ
};

// The input slot `sgd_scalars`; components/optim/sgd.ts computes it for each step.
struct SgdScalars {
    float lr;
    float momentum;
    float first_step; // 1 at step 1, whose momentum buffer holds nothing yet; 0 after it
};

} // namespace temper
