// The ops, in the order of docs/plan-format.md: TEMPER_OPS(X) is X(name) of each.
#pragma once

#define TEMPER_OPS(X)                                                                                                  \
    X(fill) X(cast) X(add) X(scale) X(accumulate)                                                                      \
    X(embedding) X(embedding_grad)                                                                                     \
    X(matmul)                                                                                                          \
    X(rmsnorm) X(rmsnorm_grad)                                                                                         \
    X(rope)                                                                                                            \
    X(attention) X(attention_grad)                                                                                     \
    X(glu) X(glu_grad) X(act) X(act_grad)                                                                              \
    X(reduce_rows)                                                                                                     \
    X(dropout)                                                                                                         \
    X(cross_entropy) X(linear_cross_entropy) X(linear_logprobs) X(linear_logprobs_grad)                                \
    X(global_norm) X(adamw) X(sgd)                                                                                     \
    X(random_normal) X(random_uniform)                                                                                 \
    X(literal) X(einsum) X(reshape) X(shift) X(unary) X(binary) X(where) X(pick)                                       \
    X(softmax_shift) X(one_hot) X(span_mask)

// What moves tensors between host and device. They are the executor's: no backend has a kernel for them.
#define TEMPER_MOVES(X) X(upload) X(copy) X(download)
