// The executor on plans of a few records: what it refuses, what it computes, and what it does between records.
#include "../engine/context.hpp"

#include "allocations.hpp"
#include "check.hpp"

#include <fstream>
#include <csignal>
#include <future>
#include <sys/mman.h>
#include <unistd.h>

using namespace temper;

namespace {

// Pieces of a plan's JSON.
std::string buffer(const std::string& name, const std::string& space, int n, int offset = -1, const std::string& dtype = "f32") {
    return R"({"name":")" + name + R"(","dtype":")" + dtype + R"(","shape":[)" + std::to_string(n) + R"(],"space":")" +
           space + R"(","offset":)" + (offset < 0 ? "null" : std::to_string(offset)) + "}";
}
std::string record(const std::string& op, const std::string& in, const std::string& out, const std::string& attrs = "") {
    return R"({"op":")" + op + R"(","inputs":[)" + in + R"(],"outputs":[)" + out + R"(],"attrs":{)" + attrs + "}}";
}
std::string plan(const std::string& buffers, const std::string& records, const std::string& programs, int arena = 0) {
    return R"({"version":1,"digest":"d","name":"test","arenaBytes":)" + std::to_string(arena) + R"(,"buffers":[)" +
           buffers + R"(],"records":[)" + records + R"(],"programs":{)" + programs + "}}";
}

// y = (x + w) · 3, through two arena buffers that share no memory.
std::string example() {
    return plan(buffer("x", "input", 4) + "," + buffer("w", "tensor", 4) + "," + buffer("a", "arena", 4, 0) + "," +
                    buffer("b", "arena", 4, 64) + "," + buffer("y", "output", 4),
                record("add", "0,1", "2") + "," + record("scale", "2", "3", R"("alpha":3)") + "," + record("cast", "3", "4"),
                R"("go":[0,3],"none":[1,1])", 128);
}

Context context(int threads = 2) { return Context(threads, "portable"); }

// Runs a program with float inputs and one float output, to the end.
std::vector<float> run(Context& context, int id, const std::string& program,
                       const std::map<std::string, std::vector<float>>& inputs, bool first = false) {
    Context::Inputs bytes;
    for (const auto& [name, values] : inputs) bytes.emplace(name, std::as_bytes(std::span(values)));
    std::vector<float> output;
    std::vector<void*> destinations;
    for (const OutputSlot& slot : context.outputs(id, program)) {
        output.resize(slot.bytes / 4);
        destinations.push_back(output.data());
    }
    std::promise<void> done;
    context.run(id, program, bytes, first, destinations, [&](const std::string* error) {
        if (error) done.set_exception(std::make_exception_ptr(std::runtime_error(*error)));
        else done.set_value();
    });
    done.get_future().get();
    return output;
}

// From smaps_rollup, which counts pages: statm leaves out what each thread has not added to the process's sum yet.
size_t resident_bytes() {
    std::ifstream smaps("/proc/self/smaps_rollup");
    for (std::string word; smaps >> word;) {
        size_t kibibytes = 0;
        if (word == "Rss:" && smaps >> kibibytes) return kibibytes * 1024;
    }
    throw std::runtime_error("/proc/self/smaps_rollup names no Rss");
}

void set(Context& context, const std::string& name, const std::vector<float>& values) {
    context.write(name, 0, std::as_bytes(std::span(values)));
}

} // namespace

TEST(runs_a_program) {
    Context c = context();
    c.allocate("w", DType::f32, {4});
    set(c, "w", {10, 20, 30, 40});
    const auto loaded = c.load(example());
    CHECK_EQ(loaded.arena_bytes, 128u);
    CHECK(run(c, loaded.plan, "go", {{"x", {1, 2, 3, 4}}}) == (std::vector<float>{33, 66, 99, 132}));
    CHECK(run(c, loaded.plan, "go", {{"x", {0, 0, 0, 0}}}) == (std::vector<float>{30, 60, 90, 120}));
    CHECK(run(c, loaded.plan, "none", {}).empty());
    CHECK_EQ(c.progress().records, 6u);
    CHECK_EQ(c.progress().runs, 3u);
    CHECK_EQ(c.progress().arena_high, 80u);
}

TEST(poison_does_not_change_a_sound_plan) {
    Context c = context();
    c.allocate("w", DType::f32, {4});
    const auto loaded = c.load(example());
    c.poison(true);
    CHECK(run(c, loaded.plan, "go", {{"x", {1, 2, 3, 4}}}) == (std::vector<float>{3, 6, 9, 12}));
}

TEST(poison_shows_a_read_of_what_nothing_wrote) {
    Context c = context();
    const auto loaded = c.load(plan(buffer("a", "arena", 4, 0) + "," + buffer("y", "output", 4), record("cast", "0", "1"),
                                    R"("go":[0,1])", 64));
    CHECK(run(c, loaded.plan, "go", {}) == (std::vector<float>{0, 0, 0, 0}));
    c.poison(true);
    for (float y : run(c, loaded.plan, "go", {})) CHECK(std::isnan(y));
}

// a's last reader is record 1; b, laid over a's second half and written by record 0 with it, is read by record 2.
TEST(poison_shows_two_live_buffers_that_share_memory) {
    Context c = context();
    const std::string buffers = buffer("a", "arena", 32, 0) + "," + buffer("b", "arena", 16, 64) + "," +
                                buffer("s", "arena", 32, 128) + "," + buffer("y", "output", 16);
    const std::string records = record("fill", "", "0", R"("value":1)") + "," + record("fill", "", "1", R"("value":2)") +
                                "," + record("cast", "0", "2") + "," + record("cast", "1", "3");
    const auto loaded = c.load(plan(buffers, records, R"("go":[0,4])", 256));
    CHECK_EQ(run(c, loaded.plan, "go", {})[0], 2.0f);
    c.poison(true);
    CHECK(std::isnan(run(c, loaded.plan, "go", {})[0]));
}

// v is a's memory under another shape: it lives on when a itself is past.
TEST(poison_leaves_a_view_of_live_memory) {
    Context c = context();
    const std::string buffers = buffer("a", "arena", 16, 0) + "," + buffer("v", "arena", 16, 0) + "," + buffer("y", "output", 16);
    const auto loaded = c.load(
        plan(buffers, record("fill", "", "0", R"("value":5)") + "," + record("cast", "1", "2"), R"("go":[0,2])", 64));
    c.poison(true);
    CHECK_EQ(run(c, loaded.plan, "go", {})[0], 5.0f);
}

TEST(output_slots_keep_their_value_between_runs) {
    Context c = context();
    const auto loaded =
        c.load(plan(buffer("x", "input", 1) + "," + buffer("y", "output", 1), record("add", "1,0", "1"), R"("go":[0,1])"));
    run(c, loaded.plan, "go", {{"x", {2}}});
    CHECK_EQ(run(c, loaded.plan, "go", {{"x", {3}}})[0], 5.0f);
}

TEST(the_option_first_overwrites_what_accumulates) {
    Context c = context();
    const std::string x = R"({"name":"x","dtype":"f32","shape":[2,1],"space":"input","offset":null},)";
    const auto loaded = c.load(plan(x + buffer("y", "output", 1),
                                    record("reduce_rows", "0", "1", R"("accumulate":"after_first")"), R"("go":[0,1])"));
    CHECK_EQ(run(c, loaded.plan, "go", {{"x", {1, 2}}}, true)[0], 3.0f);
    CHECK_EQ(run(c, loaded.plan, "go", {{"x", {3, 4}}}, false)[0], 10.0f);
    CHECK_EQ(run(c, loaded.plan, "go", {{"x", {5, 6}}}, true)[0], 11.0f);
}

TEST(a_plan_with_a_larger_arena_moves_it_for_all) {
    Context c = context();
    c.allocate("w", DType::f32, {4});
    const auto small = c.load(example());
    CHECK_EQ(run(c, small.plan, "go", {{"x", {1, 1, 1, 1}}})[0], 3.0f);
    const auto large = c.load(plan(buffer("a", "arena", 1 << 20, 0) + "," + buffer("y", "output", 1 << 20),
                                   record("fill", "", "0", R"("value":7)") + "," + record("cast", "0", "1"),
                                   R"("go":[0,2])", 4 << 20));
    CHECK_EQ(run(c, large.plan, "go", {}).back(), 7.0f);
    CHECK_EQ(run(c, small.plan, "go", {{"x", {2, 2, 2, 2}}})[0], 6.0f);
    c.unload(large.plan);
    CHECK_EQ(run(c, small.plan, "go", {{"x", {3, 3, 3, 3}}})[0], 9.0f);
    CHECK_THROWS(run(c, large.plan, "go", {}), "is not loaded");
}

TEST(refuses_inputs_that_do_not_fit) {
    Context c = context();
    c.allocate("w", DType::f32, {4});
    const int id = c.load(example()).plan;
    CHECK_THROWS(run(c, id, "go", {}), "plan 'test' program 'go' needs the input 'x'");
    CHECK_THROWS(run(c, id, "go", {{"x", {1, 2, 3}}}), "the input 'x' is f32 [4], 16 bytes, but 12 were given");
    CHECK_THROWS(run(c, id, "go", {{"x", {1, 2, 3, 4}}, {"z", {1}}}), "has no input 'z'");
    CHECK_THROWS(run(c, id, "gone", {}), "has no program 'gone'; it has go, none");
}

TEST(refuses_malformed_plans) {
    Context c = context();
    const std::string a = buffer("a", "arena", 4, 0);
    auto load = [&](const std::string& json) { c.load(json); };
    CHECK_THROWS(load("{}"), "plan: 'version' is missing");
    CHECK_THROWS(load(plan(a, "", "", 8)), "buffer 0 'a': ends past the arena's 8 bytes");
    CHECK_THROWS(load(plan(buffer("a", "arena", 4, 4), "", "", 64)), "not a multiple of 64");
    CHECK_THROWS(load(plan(buffer("a", "arena", 4), "", "", 64)), "'a'.offset: expected a number");
    CHECK_THROWS(load(plan(buffer("a", "input", 4, 0), "", "")), "only buffers of the arena have an offset");
    CHECK_THROWS(load(plan(buffer("a", "attic", 4), "", "")), "unknown space 'attic'");
    CHECK_THROWS(load(plan(buffer("a", "arena", 0, 0), "", "", 64)), "has a dimension of 0");
    CHECK_THROWS(load(plan(buffer("a", "arena", 4, 0, "f64"), "", "", 64)), "unknown dtype 'f64'");
    CHECK_THROWS(load(plan(buffer("a", "input", 4) + "," + buffer("a", "input", 5), "", "")), "two slots are called 'a'");
    CHECK_THROWS(load(plan(a, record("fill", "", "1", R"("value":1)"), "", 64)), "record 0 (fill).outputs: there is no buffer 1");
    CHECK_THROWS(load(plan(a, record("fill", "", "0"), "", 64)), "the attribute 'value' is missing");
    CHECK_THROWS(load(plan(a, record("fall", "", "0"), "", 64)), "record 0 (fall): unknown op; known are fill, cast");
    CHECK_THROWS(load(plan(a, record("fill", "0", "0", R"("value":1)"), "", 64)), "record 0 (fill): ");
    CHECK_THROWS(load(plan(a, "", R"("go":[0,1])", 64)), "program 'go': is not a range of the 0 records");
    CHECK_THROWS(load(plan(buffer("x", "input", 4), record("fill", "", "0", R"("value":1)"), "")), "writes the input slot 'x'");
    CHECK_THROWS(load(plan(buffer("a", "arena", 32, 0) + "," + buffer("b", "arena", 32, 64), record("cast", "0", "1"), "", 256)),
                 "the output 'b' covers a part of the input 'a'");
    CHECK_THROWS(load(plan(buffer("w", "tensor", 4), "", "")), "needs the tensor 'w' as f32 [4], but the context has none");
}

TEST(refuses_tensors_that_differ_from_the_plan) {
    Context c = context();
    c.allocate("w", DType::bf16, {2, 2});
    CHECK_THROWS(c.load(example()), "needs the tensor 'w' as f32 [4], but the context has it as bf16 [2, 2]");
}

TEST(guards_tensors_that_are_in_use) {
    Context c = context();
    c.allocate("w", DType::f32, {4});
    const int id = c.load(example()).plan;
    CHECK_THROWS(c.allocate("w", DType::f32, {4}), "exists already");
    CHECK_THROWS(c.free("w"), "is used by plan 'test': unload it first");
    CHECK_THROWS(set(c, "w", {1, 2, 3, 4, 5}), "has 16 bytes, not 20 from offset 0");
    CHECK_THROWS(c.read("w", SIZE_MAX, 2, nullptr), "has 16 bytes");
    CHECK_THROWS(c.read("v", 0, 0, nullptr), "there is no tensor 'v'");
    c.unload(id);
    c.free("w");
}

TEST(abort_ends_what_is_queued_and_nothing_later) {
    Context c = context();
    std::string records;
    for (int i = 0; i < 20000; i++) records += (i ? "," : "") + record("fill", "", "0", R"("value":1)");
    const auto loaded = c.load(plan(buffer("a", "arena", 4096, 0), records, R"("long":[0,20000],"short":[0,1])", 4096 * 4));
    std::vector<std::promise<std::string>> ends(3);
    for (auto& end : ends)
        c.run(loaded.plan, "long", {}, false, {}, [&](const std::string* error) { end.set_value(error ? *error : ""); });
    while (c.progress().records == 0) std::this_thread::yield();
    CHECK_THROWS(c.unload(loaded.plan), "has runs queued");
    c.abort();
    for (auto& end : ends) CHECK_EQ(end.get_future().get(), "aborted");
    CHECK(c.progress().records < 60000);
    run(c, loaded.plan, "short", {});
}

namespace {

// A matrix, or another shape than a list.
std::string shaped(const std::string& name, const std::string& space, const std::string& shape, int offset = -1,
                   const std::string& dtype = "f32") {
    return R"({"name":")" + name + R"(","dtype":")" + dtype + R"(","shape":[)" + shape + R"(],"space":")" + space +
           R"(","offset":)" + (offset < 0 ? "null" : std::to_string(offset)) + "}";
}

std::span<const std::byte> bytes(const std::vector<int32_t>& values) { return std::as_bytes(std::span(values)); }

// Adds to the tensor `sums`, and only then reads the labels.
std::string micro_batch() {
    return plan(shaped("table", "tensor", "5,4") + "," + buffer("ids", "input", 3, -1, "i32") + "," +
                    buffer("labels", "input", 3, -1, "i32") + "," + buffer("weight", "input", 1) + "," +
                    shaped("logits", "arena", "3,4", 0) + "," + shaped("sums", "tensor", "5,4") + "," + buffer("loss", "tensor", 1),
                record("embedding", "0,1", "4") + "," + record("embedding_grad", "4,1", "5", R"("accumulate":"always")") + "," +
                    record("cross_entropy", "4,2,3", "6", R"("grad":false,"accumulate":"always")"),
                R"("micro":[0,3])", 64);
}

} // namespace

TEST(a_bad_value_of_a_slot_rejects_a_run_before_any_of_it_has_changed_a_tensor) {
    Context c = context();
    c.allocate("table", DType::f32, {5, 4});
    c.allocate("sums", DType::f32, {5, 4});
    c.allocate("loss", DType::f32, {1});
    set(c, "table", {1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4});
    const int id = c.load(micro_batch()).plan;
    const std::vector<float> weight = {0.5f};
    auto micro = [&](const std::vector<int32_t>& ids, const std::vector<int32_t>& labels) {
        std::promise<void> done;
        c.run(id, "micro", {{"ids", bytes(ids)}, {"labels", bytes(labels)}, {"weight", std::as_bytes(std::span(weight))}},
              false, {}, [&](const std::string*) { done.set_value(); });
        done.get_future().get();
    };
    auto tensors = [&] {
        std::vector<float> values(41);
        c.read("table", 0, 80, values.data());
        c.read("sums", 0, 80, values.data() + 20);
        c.read("loss", 0, 4, values.data() + 40);
        return values;
    };
    micro({0, 4, 2}, {-100, 3, 0});
    const std::vector<float> before = tensors();
    CHECK(before[40] > 0);
    const std::string where = "plan 'test' program 'micro': ";
    CHECK_THROWS(micro({0, 4, 2}, {0, 1, 4}), where + "labels[2] is 4; for record 2 (cross_entropy) it must lie in [0, 4) or be -100");
    CHECK_THROWS(micro({0, 4, 2}, {-1, 1, 3}), where + "labels[0] is -1; ");
    CHECK_THROWS(micro({0, 5, 2}, {0, 1, 3}), where + "ids[1] is 5; for record 0 (embedding) it must lie in [0, 5)");
    CHECK_THROWS(micro({0, 4, -2}, {0, 1, 3}), where + "ids[2] is -2; ");
    CHECK(tensors() == before);
    micro({0, 4, 2}, {-100, 3, 0});
    CHECK(tensors() != before);
}

TEST(boundaries_and_positions_are_checked_before_a_run) {
    Context c = context();
    const std::string buffers = shaped("q", "arena", "4,2", 0) + "," + shaped("table", "tensor", "8,2") + "," +
                                buffer("positions", "input", 4, -1, "i32") + "," + buffer("segments", "input", 3, -1, "i32") +
                                "," + shaped("r", "arena", "4,2", 64) + "," + shaped("o", "output", "4,2") + "," +
                                shaped("lse", "arena", "1,4", 128);
    const std::string rope = R"("heads":1,"head_dim":2,"inverse":false)";
    const std::string attention = R"("compute":"f32","heads":1,"kv_heads":1,"head_dim":2,"scale":1)";
    c.allocate("table", DType::f32, {8, 2});
    const int id = c.load(plan(buffers, record("fill", "", "0", R"("value":1)") + "," + record("rope", "0,1,2", "4", rope) + "," +
                                            record("attention", "4,4,4,3", "5,6", attention),
                               R"("go":[0,3],"turn":[0,2])", 192))
                       .plan;
    std::vector<float> output(8);
    auto go = [&](const std::vector<int32_t>& positions, const std::vector<int32_t>& segments) {
        std::promise<void> done;
        c.run(id, "go", {{"positions", bytes(positions)}, {"segments", bytes(segments)}}, false, {output.data()},
              [&](const std::string*) { done.set_value(); });
        done.get_future().get();
    };
    go({0, 1, 2, 7}, {0, 3, 4});
    go({0, 1, 2, 7}, {0, 4, 4});
    const std::string where = "plan 'test' program 'go': ";
    CHECK_THROWS(go({0, 1, 8, 3}, {0, 3, 4}), where + "positions[2] is 8; for record 1 (rope) it must lie in [0, 8)");
    CHECK_THROWS(go({0, 1, 2, 3}, {1, 3, 4}), where + "segments[0] is 1; for record 2 (attention) the first must be 0");
    CHECK_THROWS(go({0, 1, 2, 3}, {0, -1, 4}), where + "segments[1] is -1; ");
    CHECK_THROWS(go({0, 1, 2, 3}, {0, 5, 5}), where + "segments[1] is 5; for record 2 (attention) it must be at most 4");
    CHECK_THROWS(go({0, 1, 2, 3}, {0, 2, 3}), where + "segments[2] is 3; for record 2 (attention) the last must be 4");
}

TEST(running_the_records_of_a_bound_plan_allocates_nothing) {
    ThreadPool pool(2);
    std::map<std::string, std::shared_ptr<NamedTensor>> tensors;
    for (auto [name, shape] : std::map<std::string, std::vector<int64_t>>{{"table", {5, 4}}, {"sums", {5, 4}}, {"loss", {1}}})
        tensors[name] = allocate_tensor(name, DType::f32, shape);
    for (const std::string& isa : available_isas()) {
        LoadedPlan loaded(parse_plan(micro_batch()), isa, pool.threads(), [&](const std::string& name) { return tensors.at(name); });
        const Pages arena = Pages::zeroed(loaded.arena_bytes(), "arena"), workspace = Pages::zeroed(loaded.workspace_bytes(), "workspace");
        const Range records = loaded.program("micro").records;
        auto run = [&] {
            loaded.bind(static_cast<char*>(arena.data()), static_cast<char*>(workspace.data()));
            for (size_t r = records.from; r < records.to; r++) loaded.run(r, false);
        };
        run();
        const int64_t before = check::allocations();
        for (int i = 0; i < 3; i++) run();
        CHECK_EQ(check::allocations(), before);
    }
}

TEST(refuses_ids_that_are_no_input_slot) {
    Context c = context();
    const std::string buffers = shaped("table", "arena", "5,4", 0) + "," + buffer("ids", "arena", 3, 128, "i32") + "," + shaped("y", "output", "3,4");
    CHECK_THROWS(c.load(plan(buffers, record("embedding", "0,1", "2"), "", 192)),
                 "record 0 (embedding): its input 'ids' must be an input slot, whose values are checked before a run");
}

TEST(an_op_without_a_kernel_is_another_error_than_an_unknown_op) {
    ThreadPool pool(1);
    auto load = [&](const std::string& op) {
        LoadedPlan(parse_plan(plan(buffer("a", "arena", 4, 0), record(op, "", "0", R"("value":1)"), "", 64)), "no_such_set",
                   pool.threads(), [](const std::string&) { return nullptr; });
    };
    CHECK_THROWS(load("fill"), "plan 'test' record 0 (fill): the kernel set 'no_such_set' has no kernel for it");
    CHECK_THROWS(load("fall"), "plan 'test' record 0 (fall): unknown op; known are fill, cast");
}

TEST(refuses_attributes_that_are_not_exactly_those_of_the_op) {
    Context c = context();
    const std::string x = buffer("x", "arena", 4, 0) + "," + buffer("y", "arena", 4, 64);
    auto load = [&](const std::string& attrs, const std::string& op = "scale") {
        return c.load(plan(x, record(op, "0", "1", attrs), "", 128));
    };
    load(R"("alpha":2)");
    CHECK_THROWS(load(R"("alpha":2,"softcap":30)"),
                 "plan 'test' record 0 (scale): unknown attribute 'softcap'; this engine knows alpha");
    CHECK_THROWS(load(""), "the attribute 'alpha' is missing");
    CHECK_THROWS(load(R"("alpha":true)"), "the attribute 'alpha' is not of type number");
    CHECK_THROWS(load(R"("heads":1.9,"head_dim":2,"inverse":false)", "rope"), "the attribute 'heads' is not of type integer");
}

TEST(every_op_refuses_an_attribute_that_it_does_not_know) {
    for (const std::string& name : op_names()) {
        const OpRules& op = *find_rules(name);
        Attrs attrs{name, {{"no_such_attribute", 1.0}}};
        for (const Attribute* attribute = op.attributes; attribute->key; attribute++)
            switch (attribute->type) {
            case AttrType::number:
            case AttrType::integer: attrs.values[attribute->key] = 1.0; break;
            case AttrType::flag: attrs.values[attribute->key] = false; break;
            case AttrType::text: attrs.values[attribute->key] = std::string("never"); break;
            case AttrType::numbers: attrs.values[attribute->key] = std::vector<double>{1}; break;
            case AttrType::flags: attrs.values[attribute->key] = std::vector<bool>{false}; break;
            }
        CHECK_THROWS(check_attributes(op, attrs), "unknown attribute 'no_such_attribute'");
        attrs.values.erase("no_such_attribute");
        check_attributes(op, attrs);
    }
}

TEST(an_output_lies_on_an_input_only_where_the_op_works_in_place) {
    Context c = context();
    auto matrix = [](const std::string& name, int offset) {
        return R"({"name":")" + name + R"(","dtype":"f32","shape":[4,4],"space":"arena","offset":)" + std::to_string(offset) + "}";
    };
    const std::string buffers = matrix("a", 0) + "," + matrix("b", 64) + "," + matrix("r", 128) + "," + matrix("y", 192) + "," +
                                buffer("w", "tensor", 4);
    auto matmul = [&](const std::string& in, const std::string& out) {
        const bool residual = in.size() > 3;
        return c.load(plan(buffers,
                           record("matmul", in, out,
                                  R"("compute":"f32","trans_a":[false],"trans_b":[false],"alpha":[1],"bias":false,"residual":)" +
                                      std::string(residual ? "true" : "false") + R"(,"accumulate":"never")"),
                           "", 256));
    };
    c.allocate("w", DType::f32, {4});
    matmul("0,1", "3");
    matmul("0,1,2", "2");
    CHECK_THROWS(matmul("0,1", "0"), "plan 'test' record 0 (matmul): its output 'a' lies on its input 'a'");
    CHECK_THROWS(matmul("0,1", "1"), "its output 'b' lies on its input 'b'");
    CHECK_THROWS(matmul("0,1,2", "0"), "its output 'a' lies on its input 'a'");
    CHECK_THROWS(c.load(plan(buffers, record("scale", "4", "4", R"("alpha":2)"), "", 256)), "its output 'w' lies on its input 'w'");

    const std::string qkv = matrix("q", 0) + "," + matrix("k", 64) + "," + matrix("v", 128) + "," + buffer("s", "input", 5, -1, "i32") +
                            R"(,{"name":"lse","dtype":"f32","shape":[2,4],"space":"arena","offset":192})";
    CHECK_THROWS(c.load(plan(qkv, record("attention", "0,1,2,3", "0,4", R"("compute":"f32","heads":2,"kv_heads":2,"head_dim":2,"scale":1)"), "", 256)),
                 "its output 'q' lies on its input 'q'");
}

TEST(prepare_touches_the_arena_and_keeps_tensors) {
    Context c = context();
    c.allocate("w", DType::f32, {3});
    const std::vector<float> w = {1, 2, 3};
    c.write("w", 0, std::as_bytes(std::span(w)));
    const size_t arena = size_t{64} << 20;
    const int elements = static_cast<int>(arena / 4);
    c.load(plan(buffer("w", "tensor", 3) + "," + buffer("a", "arena", elements, 0), record("fill", "", "1", R"("value":1)"),
                R"("go":[0,1])", static_cast<int>(arena)));
    const size_t before = resident_bytes();
    std::promise<std::string> end;
    c.prepare([&](const std::string* error) { end.set_value(error ? *error : ""); });
    CHECK_EQ(end.get_future().get(), "");
    CHECK(resident_bytes() >= before + arena);
    std::vector<float> copy(3);
    c.read("w", 0, 12, copy.data());
    CHECK(copy == w);
}

TEST(a_snapshot_is_of_the_moment_it_was_queued_for) {
    Context c = context();
    c.allocate("w", DType::f32, {3});
    const int id = c.load(plan(buffer("w", "tensor", 3) + "," + buffer("x", "input", 3), record("add", "0,1", "0"),
                               R"("go":[0,1])"))
                       .plan;
    const std::vector<float> x = {1, 2, 3};
    const Context::Inputs inputs{{"x", std::as_bytes(std::span(x))}};
    std::vector<float> copy(3);
    std::promise<void> done;
    c.run(id, "go", inputs, false, {}, [](const std::string*) {});
    c.snapshot({"w"}, {copy.data()}, [](const std::string*) {});
    c.run(id, "go", inputs, false, {}, [&](const std::string*) { done.set_value(); });
    done.get_future().get();
    CHECK(copy == x);
}

namespace {

// Memory whose first write stands still until open() is called: what holds a copy up at a place of the test's choosing.
class Gate {
  public:
    explicit Gate(size_t bytes) : bytes_(bytes), memory_(mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        gate = this;
        struct sigaction action {};
        action.sa_sigaction = wait;
        action.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &action, &before_);
    }
    ~Gate() {
        sigaction(SIGSEGV, &before_, nullptr);
        munmap(memory_, bytes_);
    }
    void* memory() const { return memory_; }
    bool reached() const { return reached_; }
    void open() { open_ = true; }

  private:
    static inline Gate* gate = nullptr;
    static void wait(int, siginfo_t*, void*) {
        gate->reached_ = true;
        while (!gate->open_) usleep(100);
        mprotect(gate->memory_, gate->bytes_, PROT_READ | PROT_WRITE);
    }
    size_t bytes_;
    void* memory_;
    std::atomic<bool> reached_ = false, open_ = false;
    struct sigaction before_ {};
};

} // namespace

TEST(only_a_program_that_writes_its_tensors_waits_for_a_snapshot) {
    Context c = context();
    c.allocate("w", DType::f32, {3});
    set(c, "w", {1, 2, 3});
    const int id = c.load(plan(buffer("w", "tensor", 3) + "," + buffer("x", "input", 3) + "," + buffer("y", "output", 3),
                               record("add", "0,1", "2") + "," + record("add", "0,1", "0"), R"("forward":[0,1],"update":[1,2])"))
                       .plan;
    Gate gate(4096);
    std::promise<void> copied, updated;
    std::atomic<bool> has_copied = false, has_updated = false;
    c.snapshot({"w"}, {gate.memory()}, [&](const std::string*) { has_copied = true, copied.set_value(); });
    CHECK(run(c, id, "forward", {{"x", {10, 10, 10}}}) == (std::vector<float>{11, 12, 13}));
    CHECK(!has_copied);
    const std::vector<float> x = {10, 10, 10};
    c.run(id, "update", {{"x", std::as_bytes(std::span(x))}}, false, {}, [&](const std::string*) { has_updated = true, updated.set_value(); });
    while (!gate.reached()) usleep(100);
    CHECK(!has_updated);
    CHECK_THROWS(set(c, "w", {0, 0, 0}), "the tensor 'w' is in use");
    gate.open();
    copied.get_future().get();
    updated.get_future().get();
    CHECK_EQ(static_cast<float*>(gate.memory())[2], 3.0f);
    std::vector<float> after(3);
    c.read("w", 0, 12, after.data());
    CHECK(after == (std::vector<float>{11, 12, 13}));
}

TEST(the_arena_is_kept_when_a_larger_plan_is_gone) {
    Context c = context();
    auto filling = [&](size_t bytes) {
        return c.load(plan(buffer("a", "arena", static_cast<int>(bytes / 4), 0), record("fill", "", "0", R"("value":1)"), R"("go":[0,1])",
                           static_cast<int>(bytes)))
            .plan;
    };
    const size_t large = size_t{256} << 20;
    const int small_plan = filling(4096), large_plan = filling(large);
    run(c, large_plan, "go", {});
    const size_t filled = resident_bytes();
    c.unload(large_plan);
    run(c, small_plan, "go", {});
    CHECK(resident_bytes() + large / 2 > filled);
}

TEST(close_ends_what_is_queued) {
    std::promise<std::string> end;
    {
        Context c = context();
        const int id = c.load(plan(buffer("a", "arena", 4, 0), record("fill", "", "0", R"("value":1)"), R"("go":[0,1])", 64)).plan;
        c.close();
        CHECK_THROWS(c.outputs(id, "go"), "the context is closed");
        c.close();
    }
    Context c = context();
    std::string records;
    for (int i = 0; i < 50000; i++) records += (i ? "," : "") + record("fill", "", "0", R"("value":1)");
    const int id = c.load(plan(buffer("a", "arena", 4096, 0), records, R"("go":[0,50000])", 4096 * 4)).plan;
    c.run(id, "go", {}, false, {}, [&](const std::string* error) { end.set_value(error ? *error : ""); });
    while (c.progress().records == 0) std::this_thread::yield();
    c.close();
    CHECK_EQ(end.get_future().get(), "aborted");
}

TEST(two_contexts_run_side_by_side) {
    Context a = context(1), b = context(2);
    for (Context* c : {&a, &b}) c->allocate("w", DType::f32, {4});
    const int in_a = a.load(example()).plan, in_b = b.load(example()).plan;
    CHECK_EQ(run(a, in_a, "go", {{"x", {1, 1, 1, 1}}})[0], 3.0f);
    CHECK_EQ(run(b, in_b, "go", {{"x", {2, 2, 2, 2}}})[0], 6.0f);
}

TEST(refuses_a_kernel_set_that_is_not_there) { CHECK_THROWS(Context(1, "avx1024"), "does not run the kernel set"); }
