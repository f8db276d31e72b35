// The driver: which thread computes which part of y, in which blocks.
//
//     for each block of columns that fits the L2 cache          (N)
//         for each pass over K                                  (one, unless K is long)
//             pack b: the block's panels, TILE_COLUMNS wide
//             for each group of rows                            (M; taken by whichever thread is free)
//                 pack a, or read it where it lies
//                 for each strip of a tile's rows and each panel: the tile; after the last pass, its way out
//
// after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008), with b instead of a kept
// in L2 since a can mostly be read in place. Memory is fetched ahead of its use throughout: what is packed next, and
// while a tile computes the next strip of a and what the tile writes to.
#include "gemm.hpp"

#include "gemm_pack.hpp"
#include "gemm_tile.hpp"
#include "loops.hpp"

#include <algorithm>
#include <atomic>
#include <span>

namespace temper::TEMPER_ISA {

namespace {

// Words of K in one pass, and in one strip of a product too long for a pass. What a sum rounds to depends on them, so
// they are constants and no function of the machine.
constexpr int64_t PASS_WORDS = 1600;
constexpr int64_t STRIP_WORDS = 512;
// The packed block of b, in words: about 600 KB, which leaves L2 (1 MB and more) room for a and y.
constexpr int64_t BLOCK_WORDS = 150 * 1024;
// Rows of a transposed a that are packed together: three cache lines of float32. A multiple of every tile's rows.
constexpr int GROUP_ROWS = 48;
// Rows whose float32 sums wait for the next pass. Each thread holds one such block.
constexpr int64_t PARTIAL_ROWS = 1024;

// [k0, k0 + k) of one product.
struct Segment {
    const Product* product;
    int64_t k0, k, words;
    float rescale;
};
using Pass = std::span<const Segment>;

struct Schedule {
    std::vector<Segment> segments; // pass by pass
    std::vector<size_t> begins;    // of each pass; at least one
    float alpha = 1;               // what the sums are multiplied with at last
    int64_t pass_words = 0;        // the longest pass

    size_t passes() const { return begins.size(); }
    Pass pass(size_t p) const {
        const size_t end = p + 1 < begins.size() ? begins[p + 1] : segments.size();
        return Pass(segments).subspan(begins[p], end - begins[p]);
    }
};

// α₀P₀ + α₁P₁ = (P₀ · α₀/α₁ + P₁) · α₁: the factors are rounded as they are, and alpha costs nothing inside K.
// Into `result`, whose memory is used again.
void make_schedule(const Gemm& gemm, int k_per_word, Schedule& result) {
    result.segments.clear();
    result.begins.assign(1, 0);
    result.alpha = 1;
    result.pass_words = 0;
    int64_t used = 0;
    bool any = false;
    for (const Product& product : gemm.products) {
        if (product.alpha == 0 || product.k == 0) continue;
        const int64_t words = ceil_div(product.k, k_per_word);
        const int64_t strips = words <= PASS_WORDS ? 1 : ceil_div(words, STRIP_WORDS);
        const int64_t strip = strips == 1 ? words : round_up(ceil_div(words, strips), VL);
        for (int64_t w = 0; w < words; w += strip) {
            const int64_t here = std::min(strip, words - w);
            if (used > 0 && used + here > PASS_WORDS) {
                result.begins.push_back(result.segments.size());
                used = 0;
            }
            const float rescale = any && w == 0 ? result.alpha / product.alpha : 1;
            const int64_t k0 = w * k_per_word;
            result.segments.push_back({&product, k0, std::min(here * k_per_word, product.k - k0), here, rescale});
            used += here;
            result.pass_words = std::max(result.pass_words, used);
        }
        result.alpha = product.alpha;
        any = true;
    }
}

// The threads form a grid over y: each has a cell of its own, and helps with the others when it is done.
struct Grid {
    int rows, columns;
};

// Every cell packs the b of its columns, and the a of its rows where that is transposed; to pack an element costs about
// PACK_COST multiplications.
Grid choose_grid(const Gemm& gemm) {
    constexpr int64_t PACK_COST = 16;
    constexpr int64_t PRODUCTS_WORTH_A_TEAM = 1 << 19; // multiplications, some microseconds of one thread
    const int64_t row_units = ceil_div(gemm.m, 8), column_units = ceil_div(gemm.n, TILE_COLUMNS);
    Grid best = {1, 1};
    int64_t k = 0, packed_a = 0;
    for (const Product& product : gemm.products) {
        k += product.k;
        if (product.a.trans) packed_a += product.k;
    }
    if (gemm.m * gemm.n * k < PRODUCTS_WORTH_A_TEAM) return best;
    int64_t best_cost = INT64_MAX;
    for (int columns = 1; columns <= gemm.threads.count; columns++) {
        const int rows = gemm.threads.count / columns;
        const int64_t m = ceil_div(row_units, rows) * 8, n = ceil_div(column_units, columns) * TILE_COLUMNS;
        const int64_t cost = m * n * k + PACK_COST * (n * k + m * packed_a);
        if (cost <= best_cost) {
            best = {rows, columns};
            best_cost = cost;
        }
    }
    return best;
}

int64_t part(int64_t units, int parts, int index) { return units * index / parts; }

// An upper bound for the segments of a pass.
int64_t most_segments(const Gemm& gemm, const Schedule& plan) {
    return static_cast<int64_t>(gemm.products.size()) + plan.pass_words / STRIP_WORDS + 1;
}

// Rows of a share below which a thread that has done its own leaves them to the one at work.
constexpr int64_t WORTH_PACKING = 128;

// Where a thread's scratch lies, in words; every part is 64-byte aligned.
struct ScratchLayout {
    int64_t b, a, sums, total;
    int64_t block_panels; // of TILE_COLUMNS
    int64_t row_block;    // rows whose sums are kept
};

ScratchLayout scratch_layout(const Gemm& gemm, const Schedule& plan, const Grid& grid) {
    const int64_t panels = ceil_div(ceil_div(gemm.n, TILE_COLUMNS), grid.columns);
    const int64_t panel_words = std::max<int64_t>(1, plan.pass_words) * TILE_COLUMNS;
    ScratchLayout layout;
    // Blocks of equal size, none above BLOCK_WORDS unless one panel is.
    const int64_t most = std::max<int64_t>(1, BLOCK_WORDS / panel_words);
    layout.block_panels = ceil_div(panels, ceil_div(panels, most));
    layout.row_block = plan.passes() > 1 ? std::min(round_up(gemm.m, TILE_SUMS), PARTIAL_ROWS) : TILE_SUMS;
    layout.b = 0;
    layout.a = round_up(layout.block_panels * panel_words, 16);
    layout.sums = layout.a + round_up(GROUP_ROWS * (plan.pass_words + most_segments(gemm, plan) * VL), 16);
    layout.total = layout.sums + round_up(layout.row_block * layout.block_panels * TILE_COLUMNS, 16);
    return layout;
}

enum Purpose { FOR_READING = 0, FOR_WRITING = 1 };
enum Level { L2 = 2, L1 = 3 };

// Rows [m, m + rows) and columns [n, n + columns) of a matrix, on their way into a cache while a tile computes.
template <Purpose PURPOSE, Level LEVEL>
void prefetch(const void* data, DType dtype, int64_t ld, int64_t m, int64_t rows, int64_t n, int64_t columns) {
    const int64_t element = static_cast<int64_t>(bytes_of(dtype));
    const char* row = static_cast<const char*>(data) + (m * ld + n) * element;
    for (int64_t i = 0; i < rows; i++, row += ld * element)
        for (int64_t at = 0; at < columns * element; at += 64) __builtin_prefetch(row + at, PURPOSE, LEVEL);
}

template <class Lanes> vf load_as_float(const void* data, DType dtype, int64_t at, Lanes lanes) {
    if (dtype == DType::f32) return load(static_cast<const float*>(data) + at, lanes);
    if (dtype == DType::bf16) return load(static_cast<const bf16*>(data) + at, lanes);
    return load(static_cast<const f16*>(data) + at, lanes);
}

// The tile's way out: sums [rows][width] times alpha, plus what y adds, to rows m.. and columns n.. of y.
void write_out(const Output& y, float alpha, const float* sums, int width, int64_t m, int rows, int64_t n,
               int64_t columns) {
    for (int i = 0; i < rows; i++, sums += width) {
        const int64_t at = (m + i) * y.ld + n, residual_at = (m + i) * y.residual_ld + n;
        each_vector(0, columns, [&](int64_t j, auto lanes) {
            vf v = load(sums + j) * splat(alpha);
            if (y.bias) v += load_as_float(y.bias, y.bias_dtype, n + j, lanes);
            if (y.residual) v += load_as_float(y.residual, y.residual_dtype, residual_at + j, lanes);
            if (y.accumulate) v += load(static_cast<const float*>(y.data) + at + j, lanes);
            if (y.dtype == DType::f32)
                store(static_cast<float*>(y.data) + at + j, v, lanes);
            else
                store(static_cast<bf16*>(y.data) + at + j, v, lanes);
        });
    }
}

// Calls f with a null pointer of the C++ type that stands for `dtype`.
template <class F> void with_source(DType dtype, F f) {
    if (dtype == DType::f32) f(static_cast<const float*>(nullptr));
    if (dtype == DType::bf16) f(static_cast<const bf16*>(nullptr));
    if (dtype == DType::f16) f(static_cast<const f16*>(nullptr));
}

// A block of y's columns, and the rows of it that no thread has begun.
struct Share {
    int64_t m0 = 0, m1 = 0, n0 = 0, n1 = 0;
    std::atomic<int64_t> next = 0;
};

// What one thread does.
template <class Words> class Worker {
  public:
    Worker(const Gemm& gemm, const Schedule& plan, const ScratchLayout& layout) : gemm(gemm), plan(plan), layout(layout) {}

    // After a change of the plan, whose layout `scratch` has.
    void place(uint32_t* scratch) {
        packed_b = scratch + layout.b;
        packed_a = scratch + layout.a;
        sums = reinterpret_cast<float*>(scratch + layout.sums);
        strips.resize(static_cast<size_t>(most_segments(gemm, plan)));
    }

    // Before each run: what was packed is of other data.
    void forget() { packed_n0 = -1; }

    // Takes rows of a share, a group at a time, until none is left. Does nothing when fewer than `worth` are, unless the
    // share's b is what was packed last.
    void take(Share& share, int64_t worth) {
        if (packed_n0 == share.n0) worth = 1;
        if (share.m1 - share.next.load(std::memory_order_relaxed) < worth) return;
        if (packed_n0 != share.n0) pack_b(plan.pass(0), share.n0, share.n1);
        packed_n0 = share.n0;
        for (int64_t m; (m = share.next.fetch_add(GROUP_ROWS, std::memory_order_relaxed)) < share.m1;)
            run_group(0, m, std::min(m + GROUP_ROWS, share.m1), share.m1, share.n0, share.n1, sums);
    }

    // A product of several passes: their sums wait in the thread's scratch.
    void run_passes(int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
        const int64_t width = round_up(n1 - n0, VL);
        for (int64_t from = m0; from < m1; from += layout.row_block) {
            const int64_t to = std::min(from + layout.row_block, m1);
            for (size_t p = 0; p < plan.passes(); p++) {
                pack_b(plan.pass(p), n0, n1);
                for (int64_t m = from; m < to; m += GROUP_ROWS)
                    run_group(p, m, std::min(m + GROUP_ROWS, to), to, n0, n1, sums + (m - from) * width);
            }
        }
    }

  private:
    const Gemm& gemm;
    const Schedule& plan;
    const ScratchLayout& layout;
    uint32_t* packed_b = nullptr;
    uint32_t* packed_a = nullptr;
    float* sums = nullptr;
    std::vector<Strip> strips;
    int64_t packed_n0 = -1; // the share whose b is packed

    static int vectors_of(int64_t columns) {
        return static_cast<int>(ceil_div(std::min<int64_t>(columns, TILE_COLUMNS), VL));
    }

    // Rows [m0, m1), at most GROUP_ROWS of them, and columns [n0, n1) in one pass. Rows before `end` may come next.
    void run_group(size_t p, int64_t m0, int64_t m1, int64_t end, int64_t n0, int64_t n1, float* group_sums) {
        const Pass pass = plan.pass(p);
        const bool last = p + 1 == plan.passes();
        const int full_rows = TILE_SUMS / vectors_of(n1 - n0);
        const int64_t width = round_up(n1 - n0, VL), panels = ceil_div(n1 - n0, TILE_COLUMNS);
        pack_group(pass, m0, m1, full_rows);
        for (int64_t m = m0; m < m1;) {
            const int rows = rows_of_tile(m1 - m, full_rows);
            const int64_t next_rows = std::min<int64_t>(full_rows, end - m - rows);
            aim_a(pass, m, m - m0);
            for (int64_t n = n0; n < n1; n += TILE_COLUMNS) {
                const int64_t columns = std::min<int64_t>(n1 - n, TILE_COLUMNS);
                const int vectors = vectors_of(columns);
                float* const tile_sums = plan.passes() > 1 ? group_sums + (m - m0) * width + rows * (n - n0) : sums;
                prefetch_a(pass, m + rows, next_rows, (n - n0) / TILE_COLUMNS, panels);
                if (last) prefetch_y(m, rows, n, columns);
                aim_b(pass, n - n0, n1 - n0);
                find_tile<Words>(rows, vectors)(strips.data(), static_cast<int>(pass.size()), tile_sums, p > 0);
                if (last) write_out(gemm.y, plan.alpha, tile_sums, vectors * VL, m, rows, n, columns);
            }
            m += rows;
        }
    }

    // Called before each of `parts` tiles of a strip of rows: the first of the next strip's rows, from m on, where a is
    // read in place.
    void prefetch_a(const Pass pass, int64_t m, int64_t rows, int64_t index, int64_t parts) const {
        const int64_t from = rows * index / parts, to = rows * (index + 1) / parts;
        for (const Segment& segment : pass) {
            const Factor& a = segment.product->a;
            if (!in_place(segment)) continue;
            prefetch<FOR_READING, L2>(a.data, a.dtype, a.ld, m + from, to - from, segment.k0, segment.k);
        }
    }

    // What the tile's way out touches.
    void prefetch_y(int64_t m, int rows, int64_t n, int64_t columns) const {
        const Output& y = gemm.y;
        prefetch<FOR_WRITING, L1>(y.data, y.dtype, y.ld, m, rows, n, columns);
        if (y.residual) prefetch<FOR_READING, L1>(y.residual, y.residual_dtype, y.residual_ld, m, rows, n, columns);
    }

    // packed_b: [segment][panel][word][width], width TILE_COLUMNS but for the last panel of a matrix.
    void pack_b(const Pass pass, int64_t n0, int64_t n1) {
        uint32_t* out = packed_b;
        for (const Segment& segment : pass) {
            with_source(segment.product->b.dtype, [&](auto null) {
                const auto* source = static_cast<decltype(null)>(segment.product->b.data);
                if (segment.product->b.trans)
                    pack_b_transposed(segment, source, n0, n1, out);
                else
                    pack_b_straight(segment, source, n0, n1, out);
            });
            out += ceil_div(n1 - n0, TILE_COLUMNS) * TILE_COLUMNS * segment.words;
        }
    }

    template <class Source>
    static void pack_b_transposed(const Segment& segment, const Source* source, int64_t n0, int64_t n1, uint32_t* out) {
        const int64_t ld = segment.product->b.ld;
        for (int64_t n = n0; n < n1; n += TILE_COLUMNS, out += segment.words * TILE_COLUMNS)
            pack_transposed<Words>(source + n * ld + segment.k0, ld, segment.k, n1 - n, vectors_of(n1 - n) * VL, out);
    }

    // Whole panels, then what is left at the right.
    template <class Source>
    static void pack_b_straight(const Segment& segment, const Source* source, int64_t n0, int64_t n1, uint32_t* out) {
        const Factor& b = segment.product->b;
        const Source* from = source + segment.k0 * b.ld;
        const int64_t whole = (n1 - n0) / TILE_COLUMNS * TILE_COLUMNS, panel = segment.words * TILE_COLUMNS;
        pack_straight<Words>(from + n0, b.ld, segment.k, whole, TILE_COLUMNS, panel, out);
        if (n0 + whole < n1)
            pack_straight<Words>(from + n0 + whole, b.ld, segment.k, n1 - n0 - whole, vectors_of(n1 - n0 - whole) * VL,
                                 panel, out + whole * segment.words);
    }

    // The strips' b for the panel that starts `column` columns into a block of `columns`.
    void aim_b(const Pass pass, int64_t column, int64_t columns) {
        const uint32_t* b = packed_b;
        for (size_t s = 0; s < pass.size(); s++) {
            strips[s].b = b + column * pass[s].words;
            b += ceil_div(columns, TILE_COLUMNS) * TILE_COLUMNS * pass[s].words;
        }
    }

    // A segment's place in packed_a, in words for each row of a group.
    static int64_t words_per_row(const Segment& segment) { return round_up(segment.words, VL); }

    // Packs what has to be packed of rows [m0, m1): [tile][word][rows] where a is transposed, [row][word] where its rows
    // need only be converted.
    void pack_group(const Pass pass, int64_t m0, int64_t m1, int full_rows) {
        uint32_t* out = packed_a;
        for (const Segment& segment : pass) {
            const Factor& a = segment.product->a;
            const int64_t stride = words_per_row(segment);
            with_source(a.dtype, [&](auto null) {
                const auto* source = static_cast<decltype(null)>(a.data);
                if (!a.trans && !in_place(segment))
                    for (int64_t m = m0; m < m1; m++)
                        pack_row<Words>(source + m * a.ld + segment.k0, segment.k, out + (m - m0) * stride);
                if (!a.trans) return;
                const auto pack = [&](int64_t m, int64_t rows, int tile) {
                    pack_straight<Words>(source + segment.k0 * a.ld + m, a.ld, segment.k, rows, tile, tile * stride,
                                         out + (m - m0) * stride);
                };
                const int64_t whole = (m1 - m0) / full_rows * full_rows;
                pack(m0, whole, full_rows);
                for (int64_t m = m0 + whole; m < m1;) {
                    const int rows = rows_of_tile(m1 - m, full_rows);
                    pack(m, rows, rows);
                    m += rows;
                }
            });
            out += GROUP_ROWS * stride;
        }
    }

    static bool in_place(const Segment& segment) {
        const Factor& a = segment.product->a;
        return !a.trans && Words::in_place(a.dtype) && segment.k % Words::k_per_word == 0;
    }

    // The strips' a for the tile at row m, `offset` rows into its group.
    void aim_a(const Pass pass, int64_t m, int64_t offset) {
        const uint32_t* packed = packed_a;
        for (size_t s = 0; s < pass.size(); s++) {
            const Segment& segment = pass[s];
            const Factor& a = segment.product->a;
            const int64_t element = static_cast<int64_t>(bytes_of(a.dtype));
            const bool lies = in_place(segment);
            strips[s].a = lies ? static_cast<const char*>(a.data) + (m * a.ld + segment.k0) * element
                               : reinterpret_cast<const char*>(packed + offset * words_per_row(segment));
            strips[s].row_stride = lies ? a.ld * element : words_per_row(segment) * 4;
            strips[s].packed = a.trans;
            strips[s].words = segment.words;
            strips[s].rescale = segment.rescale;
            packed += GROUP_ROWS * words_per_row(segment);
        }
    }
};

} // namespace

struct PreparedGemm::Plan {
    Gemm gemm;
    uint32_t* scratch;

    Plan(Gemm product, void* memory) : gemm(std::move(product)), scratch(static_cast<uint32_t*>(memory)) {}
    virtual ~Plan() = default;
    virtual void make() = 0;
    virtual void run() = 0;
};

namespace {

template <class Words> class PlanOf final : public PreparedGemm::Plan {
  public:
    PlanOf(Gemm product, void* memory) : Plan(std::move(product), memory) {
        // One for each thread of the region, within which nothing is allocated.
        for (int thread = 0; thread < gemm.threads.count; thread++) workers.emplace_back(gemm, schedule, layout);
        make();
    }

    void make() override {
        make_schedule(gemm, Words::k_per_word, schedule);
        const Grid grid = choose_grid(gemm);
        layout = scratch_layout(gemm, schedule, grid);
        cells = grid.rows * grid.columns;
        for (int thread = 0; thread < cells; thread++) workers[static_cast<size_t>(thread)].place(scratch + thread * layout.total);
        divide(grid);
    }

    void run() override {
        const int64_t count = cells * blocks;
        for (int64_t i = 0; i < count; i++) share(i).next.store(share(i).m0, std::memory_order_relaxed);
        for (Worker<Words>& worker : workers) worker.forget();
        const Threads threads = gemm.threads.at_most(cells);
        if (schedule.passes() > 1) {
            threads.run(count, [&](int64_t i, int thread) {
                workers[static_cast<size_t>(thread)].run_passes(share(i).m0, share(i).m1, share(i).n0, share(i).n1);
            });
            return;
        }
        threads.run(cells, [&](int64_t cell, int thread) {
            Worker<Words>& worker = workers[static_cast<size_t>(thread)];
            for (int64_t i = 0; i < blocks; i++) worker.take(share(cell * blocks + i), 1);
            // Then what others are late with.
            for (int64_t i = 0; i < count; i++) worker.take(share((cell * blocks + i) % count), WORTH_PACKING);
        });
    }

  private:
    Schedule schedule;
    ScratchLayout layout{};
    int cells = 0;
    int64_t blocks = 0; // of each cell
    std::vector<Worker<Words>> workers;
    std::vector<Share> shares; // a cell's lie together

    Share& share(int64_t i) { return shares[static_cast<size_t>(i)]; }

    void divide(const Grid& grid) {
        const int64_t row_units = ceil_div(gemm.m, 8), column_units = ceil_div(gemm.n, TILE_COLUMNS);
        const int64_t block = layout.block_panels * TILE_COLUMNS;
        blocks = ceil_div(column_units, grid.columns * layout.block_panels);
        if (shares.size() < static_cast<size_t>(cells * blocks)) shares = std::vector<Share>(static_cast<size_t>(cells * blocks));
        for (int64_t i = 0; i < cells * blocks; i++) {
            const int row = static_cast<int>(i / blocks) / grid.columns, column = static_cast<int>(i / blocks) % grid.columns;
            share(i).m0 = part(row_units, grid.rows, row) * 8;
            share(i).m1 = std::min(gemm.m, part(row_units, grid.rows, row + 1) * 8);
            share(i).n0 = part(column_units, grid.columns, column) * TILE_COLUMNS + i % blocks * block;
            share(i).n1 = std::min({gemm.n, part(column_units, grid.columns, column + 1) * TILE_COLUMNS, share(i).n0 + block});
            if (share(i).n0 >= share(i).n1) share(i).m1 = 0; // a cell with fewer blocks than others
        }
    }
};

} // namespace

size_t gemm_scratch(const Gemm& gemm) {
    const int k_per_word = gemm.compute == Compute::bf16 ? Bf16Words::k_per_word : F32Words::k_per_word;
    Schedule plan;
    make_schedule(gemm, k_per_word, plan);
    const Grid grid = choose_grid(gemm);
    return static_cast<size_t>(grid.rows * grid.columns * scratch_layout(gemm, plan, grid).total) * 4;
}

PreparedGemm::PreparedGemm(Gemm gemm, void* scratch) {
    if (gemm.compute == Compute::bf16)
        plan = std::make_unique<PlanOf<Bf16Words>>(std::move(gemm), scratch);
    else
        plan = std::make_unique<PlanOf<F32Words>>(std::move(gemm), scratch);
}
PreparedGemm::PreparedGemm(PreparedGemm&&) noexcept = default;
PreparedGemm::~PreparedGemm() = default;

void PreparedGemm::resize(int64_t m, int64_t k) {
    plan->gemm.m = m;
    plan->gemm.products.front().k = k;
    plan->make();
}

void PreparedGemm::run(bool accumulate) {
    plan->gemm.y.accumulate = accumulate;
    plan->run();
}

} // namespace temper::TEMPER_ISA
