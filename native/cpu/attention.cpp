// attention: o = softmax(scale · q·kᵀ) · v for each head over the keys of each token's span, with grouped query heads. Keys are taken in strips with a running maximum (Milakov & Gimelshein 2018, Dao 2022), so scratch does
// not grow with the square of T. Keys and values are packed once; a task is a block of query rows of one head.
#include "attention_tile.hpp"

namespace temper::TEMPER_ISA {

constexpr int STRIP = 512;     // keys between two updates of the running maximum
constexpr int QUERY_ROWS = 8;  // share one strip of scores
constexpr float HIDDEN = -1e30f; // the score of a key that a row does not see

template <class P> struct ForwardWorkspace {
    using E = typename P::Element;
    Spans spans;
    E *keys, *values;      // per kv head: keys transposed, values as steps
    int64_t keys_stride, values_stride, panel_stride;
    struct Thread {
        E* rows;           // [BLOCK, K]: to be packed
        E* queries;        // [QUERY_ROWS, K]
        float* scores;     // [QUERY_ROWS, STRIP]
        E* weights;        // [QUERY_ROWS, STRIP]
        float* output;     // [QUERY_ROWS, K]
    };
    std::vector<Thread> threads;
    size_t bytes;

    ForwardWorkspace(const Attention& a, int team, void* memory) {
        Scratch scratch(memory);
        keys_stride = a.padded_T * a.K_sum;
        panel_stride = a.padded_T * PANEL;
        values_stride = a.padded_T * a.K_columns;
        for (int32_t** keys_of : {&spans.first, &spans.last}) *keys_of = scratch.take<int32_t>(a.padded_T);
        keys = scratch.take<E>(a.G * keys_stride);
        values = scratch.take<E>(a.G * values_stride);
        for (int i = 0; i < team; i++)
            threads.push_back({scratch.take<E>(BLOCK * a.K_sum), scratch.take<E>(QUERY_ROWS * a.K_sum),
                               scratch.take<float>(QUERY_ROWS * STRIP), scratch.take<E>(QUERY_ROWS * STRIP),
                               scratch.take<float>(QUERY_ROWS * a.K_columns)});
        bytes = scratch.bytes();
    }
};

// Scores of QUERY_ROWS rows from `row` on for the keys [from, to): thread.scores, hidden where not visible.
template <class P>
static void score(const Attention& a, const ForwardWorkspace<P>& w, const typename ForwardWorkspace<P>::Thread& thread, int64_t kv_head,
                  int64_t row, int64_t from, int64_t to) {
    for (int64_t key = from; key < to; key += PANEL) {
        const auto* keys = w.keys + kv_head * w.keys_stride + key * a.K_sum;
        const bool partly = w.spans.hide_some(row, QUERY_ROWS, key);
        for (int i = 0; i < QUERY_ROWS; i += TILE_ROWS) {
            vf acc[TILE_ROWS][TILE_VECTORS] = {};
            multiply<P>(thread.queries + i * a.K_sum, a.K_sum, P::pair, keys, a.K_sum / P::pair, acc);
            if (partly)
#pragma GCC unroll 8
                for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 2
                    for (int j = 0; j < TILE_VECTORS; j++)
                        acc[r][j] = w.spans.visible(key + j * VL, row + i + r) ? acc[r][j] : splat(HIDDEN);
            store_tile(thread.scores + i * STRIP + (key - from), STRIP, acc);
        }
    }
}

struct Running { // of a row's softmax, in units of P::unit
    float maximum = HIDDEN, sum = 0;
};

// Turns a row's strip of scores into weights e^(score − maximum), and rescales what was summed under another maximum.
template <class P>
static void weigh(int64_t keys, float factor, const float* scores, typename P::Element* weights, Running& running,
                  float* output, int64_t columns) {
    vf largest[2] = {splat(HIDDEN), splat(HIDDEN)};
    for (int64_t j = 0; j < keys; j += PANEL)
        for (int c = 0; c < 2; c++) largest[c] = max(largest[c], load(scores + j + c * VL));
    const float largest_score = maximum(max(largest[0], largest[1]));
    if (largest_score <= HIDDEN) { // the row sees none of this strip
        std::fill_n(weights, keys, typename P::Element{});
        return;
    }
    const float maximum_now = std::max(running.maximum, factor * largest_score);
    if (running.sum > 0 && maximum_now > running.maximum) {
        const float shrink = P::power(splat(running.maximum - maximum_now))[0];
        running.sum *= shrink;
        for (int64_t j = 0; j < columns; j += VL) store(output + j, load(output + j) * shrink);
    }
    running.maximum = maximum_now;
    vf sums[2] = {};
    for (int64_t j = 0; j < keys; j += PANEL)
        for (int c = 0; c < 2; c++) {
            const vf e = P::power(fma(load(scores + j + c * VL), splat(factor), splat(-maximum_now)));
            sums[c] += e;
            store(weights + j + c * VL, e);
        }
    running.sum += sum(sums[0] + sums[1]);
}

// QUERY_ROWS rows of one head, from `row` on.
template <class P>
static void attend(const Call& call, const Attention& a, const ForwardWorkspace<P>& w,
                   const typename ForwardWorkspace<P>::Thread& thread, int64_t head, int64_t row) {
    const float factor = static_cast<float>(a.scale * P::unit);
    const int64_t kv_head = head / a.group;
    const int64_t begin = w.spans.first[row] / PANEL * PANEL, end = round_up(w.spans.last[row + QUERY_ROWS - 1] + 1, PANEL);
    load_rows(call.in[0], row, QUERY_ROWS, head, a, thread.queries);
    Running running[QUERY_ROWS];
    for (int64_t from = begin; from < end; from += STRIP) {
        const int64_t to = std::min(end, from + STRIP);
        score<P>(a, w, thread, kv_head, row, from, to);
        for (int i = 0; i < QUERY_ROWS; i++)
            weigh<P>(to - from, factor, thread.scores + i * STRIP, thread.weights + i * STRIP, running[i],
                     thread.output + i * a.K_columns, a.K_columns);
        multiply_rows<P>(QUERY_ROWS, a.K_columns, thread.weights, STRIP, P::pair,
                         w.values + kv_head * w.values_stride + from * PANEL, w.panel_stride, (to - from) / P::pair,
                         thread.output, a.K_columns, from > begin);
    }
    float* lse = call.out[1].as<float>() + head * a.T;
    for (int64_t i = 0; i < QUERY_ROWS && row + i < a.T; i++) {
        store_row(call.out[0], row + i, head, a, thread.output + i * a.K_columns, 1.0f / running[i].sum);
        lse[row + i] = running[i].maximum / static_cast<float>(P::unit) + std::log(running[i].sum);
    }
}

template <class P> static void attention(const Call& call, const Attention& a, const ForwardWorkspace<P>& w) {
    w.spans.read(call.in[3], a.T, a.padded_T);
    call.threads.run(a.G * a.blocks(), [&](int64_t task, int number) {
        const auto& thread = w.threads[static_cast<size_t>(number)];
        const int64_t head = task % a.G, t = task / a.G * BLOCK;
        load_rows(call.in[1], t, BLOCK, head, a, thread.rows);
        pack_transposed<P>(thread.rows, a, w.keys + head * w.keys_stride + t * a.K_sum);
        load_rows(call.in[2], t, BLOCK, head, a, thread.rows);
        pack_steps<P>(thread.rows, a, w.values + head * w.values_stride + t * PANEL, w.panel_stride);
    });
    call.threads.run(a.H * a.blocks(), [&](int64_t task, int number) {
        const int64_t head = task % a.H, t = task / a.H * BLOCK;
        for (int64_t row = t; row < std::min(a.T, t + BLOCK); row += QUERY_ROWS)
            attend<P>(call, a, w, w.threads[static_cast<size_t>(number)], head, row);
    });
}

static size_t workspace(const Call& call) {
    return with_arithmetic(call, [&](auto arithmetic) {
        return ForwardWorkspace<decltype(arithmetic)>(Attention(call, call.in[0], call.in[1]), call.threads.count, nullptr).bytes;
    });
}

static std::unique_ptr<Prepared> prepare(const Call& call) {
    return with_arithmetic(call, [&](auto arithmetic) {
        using P = decltype(arithmetic);
        const Attention a(call, call.in[0], call.in[1]);
        ForwardWorkspace<P> w(a, call.threads.count, call.workspace);
        return prepared([&call, a, w = std::move(w)](bool) { attention<P>(call, a, w); });
    });
}

extern const Kernel attention_kernel = {"attention", workspace, prepare};

} // namespace temper::TEMPER_ISA
