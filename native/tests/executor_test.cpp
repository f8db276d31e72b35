// The executor on plans of a few records: what it refuses, what it computes, and what it does between records.
#include "../cpu/kernel.hpp"
#include "../engine/context.hpp"

#include "allocations.hpp"
#include "check.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <csignal>
#include <future>
#include <sstream>
#include <sys/mman.h>
#include <unistd.h>

using namespace temper;

namespace {

// A small plan, written as text: buffers, records in order, programs as ranges of records, and moves between slots and the
// arena put in where a record names a slot, as the compiler does.
class PlanText {
public:
    PlanText& buffer(const std::string& name, const std::string& space, const std::string& shape, int offset = -1,
                     const std::string& dtype = "f32") {
        names_.push_back(name);
        buffers_ += (buffers_.empty() ? "" : ",") + (R"({"name":")" + name) + R"(","dtype":")" + dtype + R"(","shape":[)" + shape +
                    R"(],"space":")" + space + R"(","offset":)" + (offset < 0 ? "null" : std::to_string(offset)) + R"(,"view":null})";
        return *this;
    }
    PlanText& window(const std::string& name, const std::string& space, const std::string& shape, const std::string& base, int row) {
        const std::string of = std::to_string(index(base));
        names_.push_back(name);
        buffers_ += R"(,{"name":")" + base + R"(","dtype":"f32","shape":[)" + shape + R"(],"space":")" + space +
                    R"(","offset":null,"view":{"of":)" + of + R"(,"row":)" + std::to_string(row) + "}}";
        return *this;
    }
    // Operands: "x=a w=b" or "a=p,q b=r,s".
    PlanText& record(const std::string& op, const std::string& in, const std::string& out, const std::string& attrs = "",
                     const std::string& more = R"("stream":0,"waits":[],"signals":[],"when":"always")") {
        records_ += (records_.empty() ? "" : ",") + (R"({"op":")" + op) + R"(","inputs":)" + groups(in) + R"(,"outputs":)" + groups(out) +
                    R"(,"attrs":{)" + attrs + "}," + more + R"(,"phase":"","scope":""})";
        count_++;
        return *this;
    }
    PlanText& upload(const std::string& from, const std::string& to) { return record("upload", "x=" + from, "y=" + to, "", on(3)); }
    PlanText& download(const std::string& from, const std::string& to) { return record("download", "x=" + from, "y=" + to, "", on(4)); }
    static std::string on(int stream, const std::string& waits = "", const std::string& signals = "", const std::string& when = "always") {
        return R"("stream":)" + std::to_string(stream) + R"(,"waits":[)" + waits + R"(],"signals":[)" + signals + R"(],"when":")" + when + "\"";
    }
    // The records since the program before, as one segment.
    PlanText& program(const std::string& name, const std::string& loop = "null") {
        segments_ += (segments_.empty() ? "" : ",") + (R"({"from":)" + std::to_string(from_)) + R"(,"to":)" + std::to_string(count_) +
                     R"(,"loop":)" + loop + "}";
        programs_ += (programs_.empty() ? "\"" : ",\"") + name + "\":[" + std::to_string(segment_) + "," + std::to_string(segment_ + 1) + "]";
        from_ = count_;
        segment_++;
        return *this;
    }
    PlanText& events(const std::string& names) { return events_ = names, *this; }
    PlanText& step(const std::string& items) { return step_ = items, *this; }
    std::string text(int arena = 0) {
        if (from_ < count_) program("rest");
        return R"({"version":2,"digest":"d","name":"test","alignment":64,"arenaBytes":)" + std::to_string(arena) + R"(,"buffers":[)" + buffers_ +
               R"(],"events":[)" + events_ + R"(],"records":[)" + records_ + R"(],"segments":[)" + segments_ + R"(],"programs":{)" + programs_ +
               R"(},"step":[)" + step_ + "]}";
    }

private:
    size_t index(const std::string& name) const {
        const auto at = std::find(names_.begin(), names_.end(), name);
        return at == names_.end() ? std::stoul(name) : static_cast<size_t>(at - names_.begin());
    }
    std::string groups(const std::string& text) const {
        std::istringstream words(text);
        std::string json;
        for (std::string word; words >> word;) {
            const size_t equals = word.find('=');
            json += (json.empty() ? "\"" : ",\"") + word.substr(0, equals) + "\":[";
            std::istringstream operands(word.substr(equals + 1));
            bool first = true;
            for (std::string name; std::getline(operands, name, ','); first = false)
                json += (first ? "" : ",") + std::to_string(index(name));
            json += "]";
        }
        return "{" + json + "}";
    }

    std::vector<std::string> names_;
    std::string buffers_, records_, segments_, programs_, events_, step_;
    int count_ = 0, from_ = 0, segment_ = 0;
};

// y = (x + w) · 3, through two arena buffers that share no memory.
std::string example() {
    return PlanText()
        .events(R"("uploaded","read","computed","downloaded")")
        .buffer("x", "input", "4").buffer("w", "tensor", "4").buffer("in", "arena", "4", 128).buffer("a", "arena", "4", 0)
        .buffer("b", "arena", "4", 64).buffer("y", "output", "4")
        .record("upload", "x=x", "y=in", "", PlanText::on(3, "1", "0"))
        .record("add", "a=in b=w", "y=a", "", PlanText::on(0, "0", "1"))
        .record("scale", "x=a", "y=b", R"("alpha":3)", PlanText::on(0, "3", "2"))
        .record("download", "x=b", "y=y", "", PlanText::on(4, "2", "3"))
        .program("go").program("none").text(192);
}

// The file of the fake device's plugin: TEMPER_FAKE, as ctest sets it.
std::string fake_file() {
    const char* file = std::getenv("TEMPER_FAKE");
    if (!file) throw std::runtime_error("TEMPER_FAKE is not set: it names build/temper-fake.so");
    return file;
}

Target portable(int threads = 2) { return Target(find_backend("cpu"), "portable", threads); }
Context context(int threads = 2) { return Context(portable(threads), "0"); }

// Runs a program with float inputs and one float output, to the end.
std::vector<float> run(Context& context, int id, const std::string& program,
                       const std::map<std::string, std::vector<float>>& inputs, MicroBatch micro_batch = {}) {
    Context::Inputs bytes;
    for (const auto& [name, values] : inputs) bytes.emplace(name, std::as_bytes(std::span(values)));
    std::vector<float> output;
    std::vector<void*> destinations;
    for (const OutputSlot& slot : context.outputs(id, program)) {
        output.resize(slot.bytes / 4);
        destinations.push_back(output.data());
    }
    std::promise<void> done;
    context.run(id, program, bytes, micro_batch, destinations, [&](const Failure* failure) {
        if (failure) done.set_exception(std::make_exception_ptr(std::runtime_error(failure->message)));
        else done.set_value();
    });
    done.get_future().get();
    return output;
}

// Resident bytes of the range of memory that has most of them. The whole process's would not do: what earlier tests have freed
// may leave it at any moment.
size_t largest_resident_range() {
    std::ifstream smaps("/proc/self/smaps");
    size_t largest = 0, kibibytes = 0;
    for (std::string word; smaps >> word;)
        if (word == "Rss:" && smaps >> kibibytes) largest = std::max(largest, kibibytes * 1024);
    return largest;
}

void set(Context& context, const std::string& name, const std::vector<float>& values) {
    context.write(name, 0, std::as_bytes(std::span(values)));
}

std::vector<float> get(Context& context, const std::string& name, size_t elements) {
    std::vector<float> values(elements);
    context.read(name, 0, elements * 4, values.data());
    return values;
}

} // namespace

TEST(runs_a_program) {
    Context c = context();
    c.allocate("w", DType::f32, {4});
    set(c, "w", {10, 20, 30, 40});
    const auto loaded = c.load(example());
    CHECK_EQ(loaded.arena_bytes, 192u);
    CHECK(run(c, loaded.plan, "go", {{"x", {1, 2, 3, 4}}}) == (std::vector<float>{33, 66, 99, 132}));
    CHECK(run(c, loaded.plan, "go", {{"x", {0, 0, 0, 0}}}) == (std::vector<float>{30, 60, 90, 120}));
    CHECK(run(c, loaded.plan, "none", {}).empty());
    CHECK_EQ(c.progress().records, 8u);
    CHECK_EQ(c.progress().runs, 3u);
    CHECK_EQ(c.progress().arena_high, 144u);
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
    const auto loaded = c.load(PlanText().buffer("a", "arena", "4", 0).buffer("y", "output", "4").download("a", "y").program("go").text(64));
    CHECK(run(c, loaded.plan, "go", {}) == (std::vector<float>{0, 0, 0, 0}));
    c.poison(true);
    for (float y : run(c, loaded.plan, "go", {})) CHECK(std::isnan(y));
}

// a's last reader is record 2; b, laid over a's second half and written by record 1 with it, is read by record 3.
TEST(poison_shows_two_live_buffers_that_share_memory) {
    Context c = context();
    const auto loaded = c.load(PlanText()
                                   .buffer("a", "arena", "32", 0).buffer("b", "arena", "16", 64).buffer("s", "arena", "32", 128)
                                   .buffer("y", "output", "16")
                                   .record("fill", "", "y=a", R"("value":1)").record("fill", "", "y=b", R"("value":2)")
                                   .record("cast", "x=a", "y=s").download("b", "y").program("go").text(256));
    CHECK_EQ(run(c, loaded.plan, "go", {})[0], 2.0f);
    c.poison(true);
    CHECK(std::isnan(run(c, loaded.plan, "go", {})[0]));
}

// v is a's memory under another shape: it lives on when a itself is past.
TEST(poison_leaves_a_view_of_live_memory) {
    Context c = context();
    const auto loaded = c.load(PlanText()
                                   .buffer("a", "arena", "16", 0).buffer("v", "arena", "16", 0).buffer("y", "output", "16")
                                   .record("fill", "", "y=a", R"("value":5)").download("v", "y").program("go").text(64));
    c.poison(true);
    CHECK_EQ(run(c, loaded.plan, "go", {})[0], 5.0f);
}

TEST(the_first_micro_batch_overwrites_what_accumulates) {
    Context c = context();
    c.allocate("sum", DType::f32, {1});
    const auto loaded = c.load(PlanText()
                                   .buffer("x", "input", "2,1").buffer("in", "arena", "2,1", 0).buffer("sum", "tensor", "1").buffer("y", "output", "1")
                                   .upload("x", "in").record("reduce_rows", "x=in", "y=sum", R"("accumulate":"after_first")")
                                   .download("sum", "y").program("go").text(64));
    CHECK_EQ(run(c, loaded.plan, "go", {{"x", {1, 2}}}, {true, false})[0], 3.0f);
    CHECK_EQ(run(c, loaded.plan, "go", {{"x", {3, 4}}}, {false, true})[0], 10.0f);
    CHECK_EQ(run(c, loaded.plan, "go", {{"x", {5, 6}}}, {true, true})[0], 11.0f);
}

TEST(a_record_runs_in_the_micro_batches_that_it_names) {
    Context c = context();
    c.allocate("w", DType::f32, {1});
    const std::string one = R"("value":1)", two = R"("value":2)";
    const auto loaded = c.load(PlanText()
                                   .buffer("w", "tensor", "1").buffer("y", "output", "1")
                                   .record("fill", "", "y=w", one, PlanText::on(0, "", "", "first"))
                                   .record("fill", "", "y=w", two, PlanText::on(0, "", "", "last")).download("w", "y").program("go").text());
    CHECK_EQ(run(c, loaded.plan, "go", {}, {true, false})[0], 1.0f);
    CHECK_EQ(run(c, loaded.plan, "go", {}, {false, false})[0], 1.0f);
    CHECK_EQ(run(c, loaded.plan, "go", {}, {false, true})[0], 2.0f);
    CHECK_EQ(run(c, loaded.plan, "go", {}, {true, true})[0], 2.0f);
}

TEST(a_segment_loops_as_often_as_its_slot_says) {
    Context c = context();
    c.allocate("w", DType::f32, {1});
    c.allocate("one", DType::f32, {1});
    set(c, "one", {1});
    const int id = c.load(PlanText()
                              .buffer("w", "tensor", "1").buffer("one", "tensor", "1").buffer("turns", "input", "1", -1, "i32")
                              .record("add", "a=w b=one", "y=w").program("go", R"({"count":2,"max":5})").text())
                       .plan;
    auto turn = [&](int32_t turns) {
        std::promise<std::string> end;
        c.run(id, "go", {{"turns", std::as_bytes(std::span(&turns, 1))}}, {}, {},
              [&](const Failure* failure) { end.set_value(failure ? failure->message : ""); });
        return end.get_future().get();
    };
    CHECK_EQ(turn(3), "");
    CHECK_EQ(turn(0), "");
    CHECK_EQ(turn(5), "");
    CHECK(get(c, "w", 1) == std::vector<float>{8});
    CHECK_EQ(turn(6), "plan 'test': the loop count 'turns' is 6; it must lie in [0, 5]");
    CHECK_EQ(turn(-1), "plan 'test': the loop count 'turns' is -1; it must lie in [0, 5]");
    CHECK(get(c, "w", 1) == std::vector<float>{8});
}

TEST(a_window_is_rows_of_its_base) {
    Context c = context();
    c.allocate("w", DType::f32, {4, 2});
    set(c, "w", {1, 2, 3, 4, 5, 6, 7, 8});
    const auto loaded = c.load(PlanText()
                                   .buffer("w", "tensor", "4,2").window("rows", "tensor", "2,2", "w", 1).buffer("a", "arena", "4,2", 0)
                                   .window("half", "arena", "2,2", "a", 2).buffer("y", "output", "4,2")
                                   .record("fill", "", "y=a", R"("value":9)").record("cast", "x=rows", "y=half").download("a", "y")
                                   .program("go").text(64));
    CHECK(run(c, loaded.plan, "go", {}) == (std::vector<float>{9, 9, 9, 9, 3, 4, 5, 6}));
    auto window = [&](const std::string& shape, int row, const std::string& base = "w", const std::string& space = "tensor") {
        c.load(PlanText().buffer("w", "tensor", "4,2").window("inner", "tensor", "2,2", "w", 0).window("rows", space, shape, base, row).text());
    };
    CHECK_THROWS(window("2,2", 3), "ends past the 4 rows of its base");
    CHECK_THROWS(window("2,3", 0), "has other rows than its base");
    CHECK_THROWS(window("2,2", 0, "w", "input"), "a slot is no window");
}

TEST(a_plan_with_a_larger_arena_moves_it_for_all) {
    Context c = context();
    c.allocate("w", DType::f32, {4});
    const auto small = c.load(example());
    CHECK_EQ(run(c, small.plan, "go", {{"x", {1, 1, 1, 1}}})[0], 3.0f);
    const std::string million = std::to_string(1 << 20);
    const auto large = c.load(PlanText().buffer("a", "arena", million, 0).buffer("y", "output", million)
                                  .record("fill", "", "y=a", R"("value":7)").download("a", "y").program("go").text(4 << 20));
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
    auto a = [] { return PlanText().buffer("a", "arena", "4", 0); };
    auto load = [&](const std::string& json) { c.load(json); };
    const std::string one = R"("value":1)";
    CHECK_THROWS(load("{}"), "plan: 'version' is missing");
    CHECK_THROWS(load(R"({"version":1,"digest":"d"})"), "version 1 is not 2, which this engine runs");
    CHECK_THROWS(load(a().text(8)), "buffer 0 'a': ends past the arena's 8 bytes");
    CHECK_THROWS(load(PlanText().buffer("a", "arena", "4", 4).text(64)), "not a multiple of 64");
    CHECK_THROWS(load(PlanText().buffer("a", "arena", "4").text(64)), "'a'.offset: expected a number");
    CHECK_THROWS(load(PlanText().buffer("a", "input", "4", 0).text()), "only buffers of the arena that are no windows have an offset");
    CHECK_THROWS(load(PlanText().buffer("a", "attic", "4").text()), "unknown space 'attic'");
    CHECK_THROWS(load(PlanText().buffer("a", "arena", "0", 0).text(64)), "has a dimension of 0");
    CHECK_THROWS(load(PlanText().buffer("a", "arena", "4", 0, "f12").text(64)), "unknown dtype 'f12'; known are f32, bf16");
    CHECK_THROWS(load(PlanText().buffer("a", "input", "4").buffer("a", "input", "5").text()), "two slots are called 'a'");
    CHECK_THROWS(load(a().record("fill", "", "y=1", one).text(64)), "record 0 (fill).outputs.y: there is no buffer 1");
    CHECK_THROWS(load(a().record("fill", "", "y=a").text(64)), "the attribute 'value' is missing");
    CHECK_THROWS(load(a().record("fall", "", "y=a").text(64)), "record 0 (fall): unknown op; known are fill, cast");
    CHECK_THROWS(load(a().record("fill", "x=a", "y=a", one).text(64)), "record 0 (fill): unknown operands 'x'; the record takes none");
    CHECK_THROWS(load(a().record("fill", "", "", one).text(64)), "the operand 'y' is missing");
    CHECK_THROWS(load(a().record("fill", "", "y=a,a", one).text(64)), "'y' is one operand, not 2");
    CHECK_THROWS(load(a().record("fill", "", "y=a", one, PlanText::on(7)).text(64)), "there is no stream 7");
    CHECK_THROWS(load(a().record("fill", "", "y=a", one, PlanText::on(0, "0")).text(64)), "waits: there is no event 0");
    CHECK_THROWS(load(a().record("fill", "", "y=a", one, PlanText::on(0, "", "", "often")).text(64)), "when is 'often'");
    CHECK_THROWS(load(a().program("go", R"({"count":0,"max":1})").text(64)), "its count 'a' is not an input slot i32 [1]");
    CHECK_THROWS(load(a().step(R"({"program":"go","repeat":false,"optional":false})").text(64)), "there is no program 'go'");
    CHECK_THROWS(load(PlanText().buffer("x", "input", "4").record("fill", "", "y=x", one).text()), "writes the input slot 'x'");
    CHECK_THROWS(load(PlanText().buffer("x", "output", "4").record("fill", "", "y=x", one).text()), "writes the output slot 'x', which only a download does");
    CHECK_THROWS(load(a().buffer("x", "input", "4").record("cast", "x=x", "y=a").text(64)), "reads the input slot 'x', which only an upload does");
    CHECK_THROWS(load(PlanText().buffer("a", "arena", "32", 0).buffer("b", "arena", "32", 64).record("cast", "x=a", "y=b").text(256)),
                 "the output 'b' covers a part of the input 'a'");
    CHECK_THROWS(load(PlanText().buffer("w", "tensor", "4").text()), "needs the tensor 'w' as f32 [4], but the context has none");
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

namespace {

// A plan whose program `long` has that many records, and `short` one.
std::string long_plan(int records) {
    PlanText text;
    text.buffer("a", "arena", "4096", 0);
    for (int i = 0; i < records; i++) text.record("fill", "", "y=a", R"("value":1)");
    text.program("long");
    return text.record("fill", "", "y=a", R"("value":1)").program("short").text(4096 * 4);
}

} // namespace

TEST(abort_ends_what_is_queued_and_nothing_later) {
    Context c = context();
    const auto loaded = c.load(long_plan(20000));
    std::vector<std::promise<std::string>> ends(3);
    for (auto& end : ends)
        c.run(loaded.plan, "long", {}, {}, {}, [&](const Failure* failure) { end.set_value(failure ? failure->message : ""); });
    while (c.progress().records == 0) std::this_thread::yield();
    CHECK_THROWS(c.unload(loaded.plan), "has runs queued");
    c.abort();
    for (auto& end : ends) CHECK_EQ(end.get_future().get(), "aborted");
    CHECK(c.progress().records < 60000);
    run(c, loaded.plan, "short", {});
}

namespace {

std::span<const std::byte> bytes(const std::vector<int32_t>& values) { return std::as_bytes(std::span(values)); }

// Adds to the tensor `sums`, and only then reads the labels.
std::string micro_batch() {
    return PlanText()
        .buffer("table", "tensor", "5,4").buffer("ids", "input", "3", -1, "i32").buffer("labels", "input", "3", -1, "i32")
        .buffer("weight", "input", "1").buffer("logits", "arena", "3,4", 0).buffer("sums", "tensor", "5,4").buffer("loss", "tensor", "1")
        .buffer("i", "arena", "3", 64, "i32").buffer("l", "arena", "3", 128, "i32").buffer("n", "arena", "1", 192).buffer("ii", "arena", "3", 256, "i32")
        .upload("ids,labels,weight", "i,l,n").record("copy", "x=i", "y=ii").record("embedding", "table=table ids=ii", "y=logits")
        .record("embedding_grad", "dy=logits ids=i", "dtable=sums", R"("accumulate":"always")")
        .record("cross_entropy", "logits=logits labels=l weight=n", "loss=loss", R"("grad":false,"accumulate":"always")")
        .program("micro").text(320);
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
        c.run(id, "micro", {{"ids", bytes(ids)}, {"labels", bytes(labels)}, {"weight", std::as_bytes(std::span(weight))}}, {}, {},
              [&](const Failure*) { done.set_value(); });
        done.get_future().get();
    };
    auto tensors = [&] {
        std::vector<float> values = get(c, "table", 20);
        for (const auto& more : {get(c, "sums", 20), get(c, "loss", 1)}) values.insert(values.end(), more.begin(), more.end());
        return values;
    };
    micro({0, 4, 2}, {-100, 3, 0});
    const std::vector<float> before = tensors();
    CHECK(before[40] > 0);
    const std::string where = "plan 'test' program 'micro': ";
    CHECK_THROWS(micro({0, 4, 2}, {0, 1, 4}), where + "labels[2] is 4; for record 4 (cross_entropy) it must lie in [0, 4) or be -100");
    CHECK_THROWS(micro({0, 4, 2}, {-1, 1, 3}), where + "labels[0] is -1; ");
    CHECK_THROWS(micro({0, 5, 2}, {0, 1, 3}), where + "ids[1] is 5; for record 2 (embedding) it must lie in [0, 5)");
    CHECK_THROWS(micro({0, 4, -2}, {0, 1, 3}), where + "ids[2] is -2; ");
    CHECK(tensors() == before);
    micro({0, 4, 2}, {-100, 3, 0});
    CHECK(tensors() != before);
}

TEST(spans_and_positions_are_checked_before_a_run) {
    Context c = context();
    const std::string rope = R"("head_dim":2,"inverse":false)";
    const std::string attention = R"("compute":"f32","head_dim":2,"scale":1)";
    c.allocate("table", DType::f32, {8, 2});
    const int id = c.load(PlanText()
                              .buffer("q", "arena", "4,2", 0).buffer("table", "tensor", "8,2").buffer("positions", "input", "4", -1, "i32")
                              .buffer("spans", "input", "4,2", -1, "i32").buffer("r", "arena", "4,2", 64).buffer("o", "output", "4,2")
                              .buffer("lse", "arena", "1,4", 128).buffer("p", "arena", "4", 192, "i32").buffer("s", "arena", "4,2", 256, "i32")
                              .buffer("made", "arena", "4,2", 320)
                              .upload("positions,spans", "p,s").record("fill", "", "y=q", R"("value":1)")
                              .record("rope", "x=q table=table positions=p", "y=r", rope)
                              .record("attention", "q=r k=r v=r spans=s", "o=made lse=lse", attention).download("made", "o").program("go").text(384))
                       .plan;
    std::vector<float> output(8);
    auto go = [&](const std::vector<int32_t>& positions, const std::vector<int32_t>& spans) {
        std::promise<void> done;
        c.run(id, "go", {{"positions", bytes(positions)}, {"spans", bytes(spans)}}, {}, {output.data()},
              [&](const Failure*) { done.set_value(); });
        done.get_future().get();
    };
    go({0, 1, 2, 7}, {0, 0, 0, 1, 0, 2, 3, 3});
    go({0, 1, 2, 7}, {0, 3, 0, 3, 0, 3, 0, 3});
    const std::string where = "plan 'test' program 'go': ";
    CHECK_THROWS(go({0, 1, 8, 3}, {0, 0, 0, 1, 0, 2, 3, 3}), where + "positions[2] is 8; for record 2 (rope) it must lie in [0, 8)");
    CHECK_THROWS(go({0, 1, 2, 3}, {0, 0, 0, 1, 0, 4, 3, 4}), where + "spans[5] is 4; for record 3 (attention) (the last key of token 2) it must lie in [0, 4)");
    CHECK_THROWS(go({0, 1, 2, 3}, {0, 0, -1, 1, 0, 2, 3, 3}), where + "spans[2] is -1; ");
}

TEST(running_the_records_of_a_bound_plan_allocates_nothing) {
    for (const std::string& isa : available_isas()) {
        const Target target(find_backend("cpu"), isa, 2);
        const Device device(target, "0");
        std::map<std::string, std::shared_ptr<NamedTensor>> tensors;
        for (auto [name, shape] : std::map<std::string, std::vector<int64_t>>{{"table", {5, 4}}, {"sums", {5, 4}}, {"loss", {1}}})
            tensors[name] = std::make_shared<NamedTensor>(name, DType::f32, shape, device.allocate(80, name));
        LoadedPlan loaded(parse_plan(micro_batch()), target, [&](const std::string& name) { return tensors.at(name); });
        const DeviceMemory arena = device.allocate(loaded.arena_bytes(), "arena"), workspace = device.allocate(loaded.workspace_bytes(), "workspace");
        const Range records = loaded.program("micro").records;
        auto run = [&] {
            loaded.bind(device, arena.at(), workspace.at());
            for (size_t r = records.from; r < records.to; r++)
                if (loaded.checked(r).kind == CheckedRecord::Kind::kernel) device.enqueue(loaded.prepared(r), false, TEMPER_COMPUTE);
        };
        run();
        const int64_t before = check::allocations();
        for (int i = 0; i < 3; i++) run();
        CHECK_EQ(check::allocations(), before);
    }
}

TEST(refuses_ids_that_come_from_no_input_slot) {
    Context c = context();
    auto text = [] { return PlanText().buffer("table", "arena", "5,4", 0).buffer("ids", "arena", "3", 128, "i32").buffer("y", "arena", "3,4", 192); };
    const std::string what = "(embedding): its input 'ids' must come from an input slot, whose values are checked before a run";
    CHECK_THROWS(c.load(text().record("embedding", "table=table ids=ids", "y=y").text(256)), what);
    // Nor may anything else write them.
    CHECK_THROWS(c.load(text().buffer("x", "input", "3", -1, "i32").upload("x", "ids").record("fill", "", "y=ids", R"("value":9)")
                            .record("embedding", "table=table ids=ids", "y=y").text(256)),
                 what);
}

TEST(an_op_without_a_kernel_is_another_error_than_an_unknown_op) {
    const Context c = context();
    auto load = [&](const std::string& op) {
        check_records(parse_plan(PlanText().buffer("a", "arena", "4", 0).record(op, "", "y=a", R"("value":1)").text(64)),
                      Target(find_backend(fake_file()), "fake", 1));
    };
    setenv("TEMPER_FAKE_WITHOUT", "fill", 1);
    try {
        load("fill");
        CHECK(false);
    } catch (const BackendError& error) {
        CHECK_EQ(error.status, TEMPER_UNSUPPORTED);
        CHECK_EQ(std::string(error.what()), "plan 'test' record 0 (fill): the kernel set 'portable' has no kernel for it");
    }
    CHECK(!Target(find_backend(fake_file()), "fake", 1).has_kernel("fill"));
    CHECK(Target(find_backend(fake_file()), "fake", 1).has_kernel("scale"));
    CHECK(Target(find_backend("cpu"), "portable", 1).has_kernel("fill"));
    CHECK(!Target(find_backend("cpu"), "portable", 1).has_kernel("upload"));
    unsetenv("TEMPER_FAKE_WITHOUT");
    CHECK_THROWS(load("fall"), "plan 'test' record 0 (fall): unknown op; known are fill, cast");
    CHECK_THROWS(Target(find_backend("cpu"), "avx1024", 1), "does not run the kernel set 'avx1024'; it runs ");
    CHECK_THROWS(find_backend("/nowhere/backend.so"), "cannot load the backend /nowhere/backend.so: ");
}

TEST(refuses_attributes_that_are_not_exactly_those_of_the_op) {
    Context c = context();
    auto load = [&](const std::string& attrs) {
        return c.load(PlanText().buffer("x", "arena", "4", 0).buffer("y", "arena", "4", 64).record("scale", "x=x", "y=y", attrs).text(128));
    };
    load(R"("alpha":2)");
    CHECK_THROWS(load(R"("alpha":2,"softcap":30)"),
                 "plan 'test' record 0 (scale): unknown attribute 'softcap'; this engine knows alpha");
    CHECK_THROWS(load(""), "the attribute 'alpha' is missing");
    CHECK_THROWS(load(R"("alpha":true)"), "the attribute 'alpha' is not of type number");
    CHECK_THROWS(c.load(PlanText().buffer("x", "arena", "4", 0).record("rope", "x=x table=x positions=x", "y=x", R"("head_dim":1.9,"inverse":false)").text(64)),
                 "the attribute 'head_dim' is not of type integer");
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
    auto matrices = [](const std::string& x, const std::string& y, const std::string& z, const std::string& last) {
        return PlanText().buffer(x, "arena", "4,4", 0).buffer(y, "arena", "4,4", 64).buffer(z, "arena", "4,4", 128).buffer(last, "arena", "4,4", 192);
    };
    auto matmul = [&](const std::string& in, const std::string& out) {
        const bool residual = in.find("residual") != std::string::npos;
        return c.load(matrices("a", "b", "r", "y")
                          .record("matmul", in, out,
                                  R"("compute":"f32","trans_a":[false],"trans_b":[false],"alpha":[1],"bias":false,"residual":)" +
                                      std::string(residual ? "true" : "false") + R"(,"accumulate":"never")")
                          .text(256));
    };
    c.allocate("w", DType::f32, {4});
    matmul("a=a b=b", "y=y");
    matmul("a=a b=b residual=r", "y=r");
    CHECK_THROWS(matmul("a=a b=b", "y=a"), "plan 'test' record 0 (matmul): its output 'a' lies on its input 'a'");
    CHECK_THROWS(matmul("a=a b=b", "y=b"), "its output 'b' lies on its input 'b'");
    CHECK_THROWS(matmul("a=a b=b residual=r", "y=a"), "its output 'a' lies on its input 'a'");
    CHECK_THROWS(c.load(PlanText().buffer("w", "tensor", "4").record("scale", "x=w", "y=w", R"("alpha":2)").text()), "its output 'w' lies on its input 'w'");
    CHECK_THROWS(c.load(matrices("q", "k", "v", "x").buffer("slot", "input", "4,2", -1, "i32").buffer("s", "arena", "4,2", 256, "i32").buffer("lse", "arena", "2,4", 320)
                            .upload("slot", "s")
                            .record("attention", "q=q k=k v=v spans=s", "o=q lse=lse", R"("compute":"f32","head_dim":2,"scale":1)")
                            .text(384)),
                 "its output 'q' lies on its input 'q'");
}

TEST(prepare_touches_the_arena_and_keeps_tensors) {
    Context c = context();
    c.allocate("w", DType::f32, {3});
    set(c, "w", {1, 2, 3});
    const size_t arena = size_t{64} << 20;
    c.load(PlanText().buffer("w", "tensor", "3").buffer("a", "arena", std::to_string(arena / 4), 0).record("fill", "", "y=a", R"("value":1)")
               .program("go").text(static_cast<int>(arena)));
    CHECK(largest_resident_range() < arena);
    std::promise<std::string> end;
    c.prepare([&](const Failure* failure) { end.set_value(failure ? failure->message : ""); });
    CHECK_EQ(end.get_future().get(), "");
    CHECK(largest_resident_range() >= arena);
    CHECK(get(c, "w", 3) == (std::vector<float>{1, 2, 3}));
}

namespace {

// Programs `forward` (y = w + x), `update` (w += x) and `snapshot` of w, whose reads and writes of w are ordered by events.
std::string with_snapshot() {
    return PlanText()
        .events(R"("updated","copied","uploaded","read")")
        .buffer("w", "tensor", "30000").buffer("x", "input", "30000").buffer("u", "input", "30000").buffer("in", "arena", "30000", 0)
        .buffer("sum", "arena", "30000", 120064).buffer("y", "output", "30000").buffer("w'", "output", "30000").buffer("v", "arena", "30000", 240128)
        .upload("x", "in").record("add", "a=w b=in", "y=sum").download("sum", "y").program("forward")
        .record("upload", "x=u", "y=v", "", PlanText::on(3, "3", "2"))
        .record("add", "a=w b=v", "y=w", "", PlanText::on(0, "1,2", "0,3")).program("update")
        .record("download", "x=w", "y=w'", "", PlanText::on(4, "0", "1")).program("snapshot").text(360192);
}

std::vector<float> all(float value) { return std::vector<float>(30000, value); }

} // namespace

TEST(a_snapshot_is_of_the_moment_it_was_queued_for) {
    Context c = context();
    c.allocate("w", DType::f32, {30000});
    const int id = c.load(with_snapshot()).plan;
    const std::vector<float> x = all(1);
    const Context::Inputs inputs{{"u", std::as_bytes(std::span(x))}};
    std::vector<float> copy(30000);
    std::promise<void> copied, updated;
    c.run(id, "update", inputs, {}, {}, [](const Failure*) {});
    c.run(id, "snapshot", {}, {}, {copy.data()}, [&](const Failure*) { copied.set_value(); });
    c.run(id, "update", inputs, {}, {}, [&](const Failure*) { updated.set_value(); });
    copied.get_future().get();
    updated.get_future().get();
    CHECK(copy == x);
    CHECK(get(c, "w", 30000) == all(2));
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
    c.allocate("w", DType::f32, {30000});
    set(c, "w", all(1));
    const int id = c.load(with_snapshot()).plan;
    Gate gate(30000 * 4);
    std::promise<void> copied, updated;
    std::atomic<bool> has_copied = false, has_updated = false;
    c.run(id, "snapshot", {}, {}, {gate.memory()}, [&](const Failure*) { has_copied = true, copied.set_value(); });
    while (!gate.reached()) usleep(100);
    CHECK_THROWS(set(c, "w", all(0)), "the tensor 'w' is in use");
    const std::vector<float> x = all(10);
    c.run(id, "update", {{"u", std::as_bytes(std::span(x))}}, {}, {}, [&](const Failure*) { has_updated = true, updated.set_value(); });
    usleep(20000);
    CHECK(!has_copied);
    CHECK(!has_updated);
    gate.open();
    copied.get_future().get();
    updated.get_future().get();
    CHECK_EQ(static_cast<float*>(gate.memory())[29999], 1.0f);
    CHECK(get(c, "w", 30000) == all(11));
}

TEST(a_program_that_only_reads_them_runs_beside_a_snapshot) {
    Context c = context();
    c.allocate("w", DType::f32, {30000});
    const int id = c.load(with_snapshot()).plan;
    // Its output is small enough to be written at once: the thread that downloads stands at the gate.
    const int small = c.load(PlanText().buffer("w", "tensor", "30000").buffer("s", "arena", "30000", 0).record("cast", "x=w", "y=s").program("read").text(120064)).plan;
    run(c, small, "read", {}); // the arena has its size
    Gate gate(30000 * 4);
    std::promise<void> copied;
    std::atomic<bool> has_copied = false;
    c.run(id, "snapshot", {}, {}, {gate.memory()}, [&](const Failure*) { has_copied = true, copied.set_value(); });
    while (!gate.reached()) usleep(100);
    run(c, small, "read", {});
    CHECK(!has_copied);
    gate.open();
    copied.get_future().get();
}

TEST(a_step_has_an_order) {
    Context c = context();
    auto item = [](const std::string& program, bool repeat, bool optional) {
        return R"({"program":")" + program + R"(","repeat":)" + (repeat ? "true" : "false") + R"(,"optional":)" + (optional ? "true" : "false") + "}";
    };
    const int id = c.load(PlanText().program("micro").program("norm").program("update").program("snapshot")
                              .step(item("micro", true, false) + "," + item("norm", false, false) + "," + item("update", false, true) + "," +
                                    item("snapshot", false, true))
                              .text())
                       .plan;
    auto go = [&](const std::string& program) { run(c, id, program, {}); };
    CHECK_THROWS(go("norm"), "plan 'test': the program 'norm' cannot run first in a step; next is 'micro'");
    for (const char* program : {"micro", "micro", "norm", "update", "snapshot", "micro", "norm", "update", "micro", "norm", "micro", "norm", "snapshot"}) go(program);
    CHECK_THROWS(go("update"), "the program 'update' cannot run after 'snapshot'; next is 'micro'");
    go("micro");
    CHECK_THROWS(go("update"), "cannot run after 'micro'; next is 'micro', 'norm'");
}

TEST(the_arena_is_kept_when_a_larger_plan_is_gone) {
    Context c = context();
    auto filling = [&](size_t bytes) {
        return c.load(PlanText().buffer("a", "arena", std::to_string(bytes / 4), 0).record("fill", "", "y=a", R"("value":1)").program("go")
                          .text(static_cast<int>(bytes)))
            .plan;
    };
    const size_t large = size_t{256} << 20;
    const int small_plan = filling(4096), large_plan = filling(large);
    run(c, large_plan, "go", {});
    c.unload(large_plan);
    run(c, small_plan, "go", {});
    CHECK(largest_resident_range() >= large);
}

TEST(close_ends_what_is_queued) {
    std::promise<std::string> end;
    {
        Context c = context();
        const int id = c.load(long_plan(1)).plan;
        c.close();
        CHECK_THROWS(c.outputs(id, "long"), "the context is closed");
        c.close();
    }
    Context c = context();
    const int id = c.load(long_plan(50000)).plan;
    c.run(id, "long", {}, {}, {}, [&](const Failure* failure) { end.set_value(failure ? failure->message : ""); });
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

// --- The fake device ---------------------------------------------------------------------------------------------------

namespace {

// With TEMPER_FAKE_<name> set to `value`.
template <class Work> void on_fake(const std::map<std::string, std::string>& settings, const Work& work) {
    for (const auto& [name, value] : settings) setenv(("TEMPER_FAKE_" + name).c_str(), value.c_str(), 1);
    {
        Context c(Target(find_backend(fake_file()), "fake", 1), "0");
        work(c);
    }
    for (const auto& [name, value] : settings) unsetenv(("TEMPER_FAKE_" + name).c_str());
}

} // namespace

TEST(the_fake_device_computes_what_the_cpu_does_in_every_order_and_captured) {
    for (const std::string order : {"compute_first", "uploads_first", "at_once"})
        for (const std::string capture : {"on", "off"})
            on_fake({{"ORDER", order}, {"CAPTURE", capture}}, [](Context& c) {
                c.allocate("w", DType::f32, {4});
                set(c, "w", {10, 20, 30, 40});
                const int id = c.load(example()).plan;
                std::vector<std::vector<float>> inputs, outputs(6, std::vector<float>(4));
                std::vector<std::promise<void>> ends(6);
                for (size_t i = 0; i < 6; i++) {
                    inputs.push_back(std::vector<float>(4, static_cast<float>(i)));
                    c.run(id, "go", {{"x", std::as_bytes(std::span(inputs[i]))}}, {}, {outputs[i].data()},
                          [&, i](const Failure*) { ends[i].set_value(); });
                }
                for (auto& end : ends) end.get_future().get();
                for (size_t i = 0; i < 6; i++) CHECK_EQ(outputs[i][3], 3.0f * (40.0f + static_cast<float>(i)));
                c.poison(true);
                CHECK(run(c, id, "go", {{"x", {0, 0, 0, 0}}}) == (std::vector<float>{30, 60, 90, 120}));
            });
}

TEST(a_wait_that_is_missing_shows_on_the_fake_device) {
    const auto replaced = [](std::string text, const std::string& part, const std::string& by) { return text.replace(text.find(part), part.size(), by); };
    // Two updates with a snapshot between them: the snapshot's first element, which is right where it is 1.
    const auto snapshot = [](const std::string& plan) {
        float value = 0;
        on_fake({}, [&](Context& c) {
            c.allocate("w", DType::f32, {30000});
            const int id = c.load(plan).plan;
            const std::vector<float> one = all(1);
            std::vector<float> copy(30000);
            std::promise<void> copied, updated;
            const Context::Inputs inputs{{"u", std::as_bytes(std::span(one))}};
            c.run(id, "update", inputs, {}, {}, [](const Failure*) {});
            c.run(id, "snapshot", {}, {}, {copy.data()}, [&](const Failure*) { copied.set_value(); });
            c.run(id, "update", inputs, {}, {}, [&](const Failure*) { updated.set_value(); });
            copied.get_future().get();
            updated.get_future().get();
            value = copy[0];
        });
        return value;
    };
    CHECK_EQ(snapshot(with_snapshot()), 1.0f);
    CHECK(snapshot(replaced(with_snapshot(), R"("waits":[1,2],"signals":[0,3])", R"("waits":[2],"signals":[0,3])")) != 1.0f);
    CHECK(snapshot(replaced(with_snapshot(), R"("waits":[1,2],"signals":[0,3])", R"("waits":[1],"signals":[0,3])")) != 1.0f);
}

TEST(a_device_without_memory_says_what_for) {
    on_fake({{"MEMORY", "1000"}}, [](Context& c) {
        c.allocate("w", DType::f32, {100});
        try {
            c.allocate("v", DType::f32, {200});
            CHECK(false);
        } catch (const BackendError& error) {
            CHECK_EQ(error.status, TEMPER_OUT_OF_MEMORY);
            CHECK_EQ(std::string(error.what()), "the tensor 'v': cannot allocate 800 bytes: 400 of 1000 are in use");
        }
    });
}

TEST(what_a_device_has_lost_fails_every_run_from_then_on) {
    const auto fails = [](const std::string& setting, TemperStatus status, const std::string& message) {
        on_fake({{setting, "3"}}, [&](Context& c) {
            c.allocate("w", DType::f32, {4});
            const int id = c.load(example()).plan;
            run(c, id, "go", {{"x", {1, 2, 3, 4}}});
            for (int i = 0; i < 2; i++) {
                const std::vector<float> x(4);
                std::vector<float> y(4);
                std::promise<Failure> end;
                c.run(id, "go", {{"x", std::as_bytes(std::span(x))}}, {}, {y.data()}, [&](const Failure* failure) { end.set_value(failure ? *failure : Failure{}); });
                const Failure failure = end.get_future().get();
                CHECK_EQ(failure.status, status);
                CHECK(failure.message.find(message) != std::string::npos);
            }
        });
    };
    fails("LOST_AFTER", TEMPER_DEVICE_LOST, "the device was lost after 3 records");
    fails("PEER_LOST_AFTER", TEMPER_PEER_LOST, "another rank was lost after 3 records");
}

TEST(a_plan_is_aligned_for_its_target) {
    on_fake({{"ALIGNMENT", "256"}}, [](Context& c) {
        c.allocate("w", DType::f32, {4});
        CHECK_THROWS(c.load(example()), "plan 'test' is aligned to 64 bytes; the target 'fake' needs 256: compile the plan for it");
    });
}
