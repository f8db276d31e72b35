// attention_grad. With P = e^(scale · q·kᵀ − lse), δ = Σ o ⊙ do over a head's columns and dS = scale · P ⊙ (do·vᵀ − δ)
// (Dao 2022): dq = dS·k, dk = dSᵀ·q, dv = Pᵀ·do, the last two summed over the query heads that share a kv head.
//
// A task is a block of query rows of one head; it walks over the blocks of keys that its rows see. dq is its own. To
// dk and dv of a block of keys the tasks add in turn, in the order of their numbers, so sums are the same whoever
// computes them, and no task keeps a copy. Tasks are begun in that order too and each walks the keys in ascending
// order, so a task waits only for tasks that are ahead of it, and rarely.
#include "attention_tile.hpp"

#include <atomic>

namespace temper::TEMPER_ISA {

template <class P> struct BackwardWorkspace {
    using E = typename P::Element;
    Spans spans;
    E *keys, *values;                   // transposed
    E* key_steps;                       // keys as steps
    float *dk, *dv;                     // [G, padded T, K_columns]
    int32_t *visits, *first_visit;      // [blocks]: how many query blocks see a block of keys, and which is the first
    std::atomic<int32_t>* turn;         // [G, blocks]: how many visits are over
    int64_t transposed_stride, steps_stride, panel_stride, sum_stride;
    struct Thread {
        E *q, *dout, *o;                // [BLOCK, K_sum]
        E *q_steps, *dout_steps;        // the same as steps
        E *weights, *dscores;           // [BLOCK / pair, BLOCK, pair]: pairs of rows adjacent, for Pᵀ and dSᵀ
        E* dscores_rows;                // [BLOCK, BLOCK]: rows, for dS; dscores itself where pair is 1
        float* dq;                      // [BLOCK, K_columns]
        float *lse, *delta;             // [BLOCK]
    };
    std::vector<Thread> threads;
    size_t bytes;

    BackwardWorkspace(const Attention& a, int team, void* memory) {
        Scratch scratch(memory);
        transposed_stride = a.padded_T * a.K_sum;
        panel_stride = a.padded_T * PANEL;
        steps_stride = sum_stride = a.padded_T * a.K_columns;
        for (int32_t** keys_of : {&spans.first, &spans.last}) *keys_of = scratch.take<int32_t>(a.padded_T);
        keys = scratch.take<E>(a.G * transposed_stride);
        values = scratch.take<E>(a.G * transposed_stride);
        key_steps = scratch.take<E>(a.G * steps_stride);
        dk = scratch.take<float>(a.G * sum_stride);
        dv = scratch.take<float>(a.G * sum_stride);
        for (int32_t** counts : {&visits, &first_visit}) *counts = scratch.take<int32_t>(a.blocks());
        turn = scratch.take<std::atomic<int32_t>>(a.G * a.blocks());
        const int64_t rows = BLOCK * a.K_sum, steps = BLOCK * a.K_columns, tile = BLOCK * BLOCK;
        for (int i = 0; i < team; i++) {
            Thread t;
            for (E** buffer : {&t.q, &t.dout, &t.o}) *buffer = scratch.take<E>(rows);
            for (E** buffer : {&t.q_steps, &t.dout_steps}) *buffer = scratch.take<E>(steps);
            for (E** buffer : {&t.weights, &t.dscores}) *buffer = scratch.take<E>(tile);
            t.dscores_rows = P::pair == 1 ? t.dscores : scratch.take<E>(tile);
            t.dq = scratch.take<float>(BLOCK * a.K_columns);
            for (float** buffer : {&t.lse, &t.delta}) *buffer = scratch.take<float>(BLOCK);
            threads.push_back(t);
        }
        bytes = scratch.bytes();
    }

    // The blocks of keys that a block of query rows sees. Neither decreases from one query block to the next, so those that see a
    // block of keys follow each other.
    int64_t first_key_block(int64_t query_block) const { return spans.first[query_block * BLOCK] / BLOCK; }
    int64_t last_key_block(int64_t query_block) const { return spans.last[query_block * BLOCK + BLOCK - 1] / BLOCK; }
};

template <class P> static void count_visits(const Attention& a, const BackwardWorkspace<P>& w) {
    std::fill_n(w.visits, a.blocks(), 0);
    for (int64_t c = 0; c < a.blocks(); c++)
        for (int64_t j = w.first_key_block(c); j <= w.last_key_block(c); j++)
            if (w.visits[j]++ == 0) w.first_visit[j] = static_cast<int32_t>(c);
    for (int64_t i = 0; i < a.G * a.blocks(); i++) w.turn[i].store(0, std::memory_order_relaxed);
}

// One block of one kv head: packed, and its sums cleared.
template <class P> static void prepare_keys(const Call& call, const Attention& a, const BackwardWorkspace<P>& w, typename P::Element* rows, int64_t head, int64_t t) {
    load_rows(call.in[2], t, BLOCK, head, a, rows);
    pack_transposed<P>(rows, a, w.keys + head * w.transposed_stride + t * a.K_sum);
    pack_steps<P>(rows, a, w.key_steps + head * w.steps_stride + t * PANEL, w.panel_stride);
    load_rows(call.in[3], t, BLOCK, head, a, rows);
    pack_transposed<P>(rows, a, w.values + head * w.transposed_stride + t * a.K_sum);
    for (float* sums : {w.dk, w.dv}) std::fill_n(sums + head * w.sum_stride + t * a.K_columns, BLOCK * a.K_columns, 0.0f);
}

template <class P>
static void prepare_queries(const Call& call, const Attention& a, const typename BackwardWorkspace<P>::Thread& thread,
                            int64_t head, int64_t t) {
    load_rows(call.in[1], t, BLOCK, head, a, thread.q);
    load_rows(call.in[0], t, BLOCK, head, a, thread.dout);
    load_rows(call.in[4], t, BLOCK, head, a, thread.o);
    pack_steps<P>(thread.q, a, thread.q_steps, BLOCK * PANEL);
    pack_steps<P>(thread.dout, a, thread.dout_steps, BLOCK * PANEL);
    const float* lse = call.in[5].as<float>() + head * a.T;
    for (int64_t i = 0; i < BLOCK; i++) {
        vf dot{};
        each_vector(0, a.K_sum, [&](int64_t j, auto lanes) {
            dot += load(thread.o + i * a.K_sum + j, lanes) * load(thread.dout + i * a.K_sum + j, lanes);
        });
        thread.delta[i] = sum(dot);
        thread.lse[i] = t + i < a.T ? static_cast<float>(lse[t + i] * P::unit) : 0.0f;
    }
    std::fill_n(thread.dq, BLOCK * a.K_columns, 0.0f);
}

// Two rows of VL elements as pairs; with a pair of one, the row itself.
static inline void store_pairs(float* to, vf row, vf) { store(to, row); }
#if defined(__AVX512BF16__)
static inline void store_pairs(bf16* to, vf first, vf second) {
    _mm512_storeu_si512(to, zip((__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first)));
}
#endif

// P and dS of TILE_ROWS rows (from `row`, the block's `r`-th) and a panel of keys (from `key`, the block's `n`-th).
template <class P>
static void differentiate(const Attention& a, const BackwardWorkspace<P>& w, const typename BackwardWorkspace<P>::Thread& thread,
                          int64_t kv_head, int64_t row, int r, int64_t key, int n) {
    const float factor = static_cast<float>(a.scale * P::unit);
    const int64_t packed = kv_head * w.transposed_stride + key * a.K_sum, steps = a.K_sum / P::pair;
    vf weights[TILE_ROWS][TILE_VECTORS];
    {
        vf acc[TILE_ROWS][TILE_VECTORS] = {};
        multiply<P>(thread.q + r * a.K_sum, a.K_sum, P::pair, w.keys + packed, steps, acc);
        const bool partly = w.spans.hide_some(row, TILE_ROWS, key);
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
            for (int j = 0; j < TILE_VECTORS; j++) {
                vf p = P::power(fma(acc[i][j], splat(factor), splat(-thread.lse[r + i])));
                if (partly) p = w.spans.visible(key + j * VL, row + i) ? p : vf{};
                weights[i][j] = p;
            }
    }
    vf acc[TILE_ROWS][TILE_VECTORS] = {};
    multiply<P>(thread.dout + r * a.K_sum, a.K_sum, P::pair, w.values + packed, steps, acc);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECTORS; j++)
            acc[i][j] = weights[i][j] * a.scale * (acc[i][j] - thread.delta[r + i]);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i += P::pair)
#pragma GCC unroll 2
        for (int j = 0; j < TILE_VECTORS; j++) {
            const int64_t at = (r + i) * BLOCK + (n + j * VL) * P::pair;
            store_pairs(thread.weights + at, weights[i][j], weights[i + P::pair - 1][j]);
            store_pairs(thread.dscores + at, acc[i][j], acc[i + P::pair - 1][j]);
            if (P::pair > 1)
                for (int e = 0; e < P::pair; e++) store(thread.dscores_rows + (r + i + e) * BLOCK + n + j * VL, acc[i + e][j]);
        }
}

// A block of query rows against a block of keys.
template <class P>
static void visit(const Attention& a, const BackwardWorkspace<P>& w, const typename BackwardWorkspace<P>::Thread& thread, int64_t head,
                  int64_t c, int64_t j) {
    const int64_t kv_head = head / a.group, t = c * BLOCK, key = j * BLOCK;
    // How many keys of the block some of TILE_ROWS rows from the block's `r`-th on see, and those before.
    const auto keys_seen = [&](int r) { return std::clamp<int64_t>(w.spans.last[t + r + TILE_ROWS - 1] + 1 - key, 0, BLOCK); };
    for (int r = 0; r < BLOCK; r += TILE_ROWS) {
        const int keys = static_cast<int>(round_up(keys_seen(r), PANEL));
        for (int n = 0; n < keys; n += PANEL) differentiate<P>(a, w, thread, kv_head, t + r, r, key + n, n);
        multiply_rows<P>(TILE_ROWS, a.K_columns, thread.dscores_rows + r * BLOCK, BLOCK, P::pair,
                         w.key_steps + kv_head * w.steps_stride + key * PANEL, w.panel_stride, keys / P::pair,
                         thread.dq + r * a.K_columns, a.K_columns, true);
    }
    std::atomic<int32_t>& turn = w.turn[kv_head * a.blocks() + j];
    await(turn, static_cast<int32_t>((head % a.group) * w.visits[j] + (c - w.first_visit[j])));
    int r = 0; // rows before it do not see the keys
    for (int n = 0; n < BLOCK; n += TILE_ROWS) {
        while (r < BLOCK && keys_seen(r) <= n) r += TILE_ROWS;
        const int64_t sums = kv_head * w.sum_stride + (key + n) * a.K_columns;
        const int64_t left = r * BLOCK + n * P::pair, right = r * PANEL, steps = (BLOCK - r) / P::pair;
        multiply_rows<P>(TILE_ROWS, a.K_columns, thread.weights + left, P::pair, BLOCK * P::pair,
                         thread.dout_steps + right, BLOCK * PANEL, steps, w.dv + sums, a.K_columns, true);
        multiply_rows<P>(TILE_ROWS, a.K_columns, thread.dscores + left, P::pair, BLOCK * P::pair,
                         thread.q_steps + right, BLOCK * PANEL, steps, w.dk + sums, a.K_columns, true);
    }
    advance(turn);
}

template <class P> static void attention_grad(const Call& call, const Attention& a, const BackwardWorkspace<P>& w) {
    w.spans.read(call.in[6], a.T, a.padded_T);
    count_visits(a, w);
    call.threads.run(a.G * a.blocks(), [&](int64_t task, int number) {
        prepare_keys(call, a, w, w.threads[static_cast<size_t>(number)].q, task % a.G, task / a.G * BLOCK);
    });

    // Each thread takes the next task of all: none may begin before those that it waits for.
    std::atomic<int64_t> next{0};
    call.threads.run(call.threads.count, [&](int64_t, int number) {
        const auto& thread = w.threads[static_cast<size_t>(number)];
        // Neighbouring tasks belong to different kv heads, which do not wait for each other.
        for (int64_t task = next++; task < a.H * a.blocks(); task = next++) {
            const int64_t c = task / a.G % a.blocks();
            const int64_t head = task % a.G * a.group + task / (a.G * a.blocks());
            prepare_queries<P>(call, a, thread, head, c * BLOCK);
            for (int64_t j = w.first_key_block(c); j <= w.last_key_block(c); j++) visit<P>(a, w, thread, head, c, j);
            for (int64_t i = 0; i < BLOCK && c * BLOCK + i < a.T; i++)
                store_row(call.out[0], c * BLOCK + i, head, a, thread.dq + i * a.K_columns, 1.0f);
        }
    });

    parallel_for(call.threads, a.T, [&](int64_t t) {
        for (int64_t head = 0; head < a.G; head++) {
            store_row(call.out[1], t, head, a, w.dk + head * w.sum_stride + t * a.K_columns, 1.0f);
            store_row(call.out[2], t, head, a, w.dv + head * w.sum_stride + t * a.K_columns, 1.0f);
        }
    });
}

static size_t workspace(const Call& call) {
    return with_arithmetic(call, [&](auto arithmetic) {
        return BackwardWorkspace<decltype(arithmetic)>(Attention(call, call.in[1], call.in[2]), call.threads.count, nullptr).bytes;
    });
}

static std::unique_ptr<Prepared> prepare(const Call& call) {
    return with_arithmetic(call, [&](auto arithmetic) {
        using P = decltype(arithmetic);
        const Attention a(call, call.in[1], call.in[2]);
        BackwardWorkspace<P> w(a, call.threads.count, call.workspace);
        return prepared([&call, a, w = std::move(w)](bool) { attention_grad<P>(call, a, w); });
    });
}

extern const Kernel attention_grad_kernel = {"attention_grad", workspace, prepare};

} // namespace temper::TEMPER_ISA
