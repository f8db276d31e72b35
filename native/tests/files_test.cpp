// Files: mapped tensors, dequantisation, the search for NaN, checksums, and the threads that work on them.
#include "../engine/context.hpp"
#include "../engine/crc32c.hpp"
#include "../engine/non_finite.hpp"
#include "../engine/parallel.hpp"
#include "../gguf/dequantize.hpp"

#include "check.hpp"

#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <unistd.h>

using namespace temper;

namespace {

// A file in a folder of this process, removed at the end.
struct Folder {
    std::filesystem::path path =
        std::filesystem::temp_directory_path() / ("temper-files-test-" + std::to_string(getpid()));
    Folder() { std::filesystem::create_directories(path); }
    ~Folder() { std::filesystem::remove_all(path); }
    std::string file(const std::string& name) const { return (path / name).string(); }
    std::string write(const std::string& name, const void* data, size_t bytes) const {
        std::ofstream(file(name), std::ios::binary).write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
        return file(name);
    }
};

template <class T> std::vector<T> contents(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
}

} // namespace

namespace {

Context context() { return Context(Target(find_backend("cpu"), "portable", 1), "0"); }

} // namespace

TEST(maps_a_tensor_at_any_offset) {
    const Folder folder;
    std::vector<char> bytes(9000);
    for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<char>(i * 7);
    const std::string file = folder.write("t", bytes.data(), bytes.size());
    const Device device(Target(find_backend("cpu"), "portable", 1), "0");
    for (size_t offset : {0, 1, 2, 3, 4, 4096, 4097, 5000}) {
        const DeviceMemory memory = device.load(file, offset, 2000, 4, "w");
        CHECK_EQ(std::memcmp(memory.at(), bytes.data() + offset, 2000), 0);
        CHECK_EQ(reinterpret_cast<uintptr_t>(memory.at()) % 4, 0u);
    }
}

TEST(refuses_to_map_past_the_end_of_a_file) {
    const Folder folder;
    const std::string file = folder.write("t", "12345678", 8);
    Context c = context();
    auto map = [&](const std::string& path, size_t offset, std::vector<int64_t> shape) { c.map("w", path, offset, DType::f32, std::move(shape)); };
    CHECK_THROWS(map(file, 4, {2}), "the tensor 'w': " + file + " has 8 bytes, not the 8 from offset 4 that are needed");
    CHECK_THROWS(map(file, SIZE_MAX - 3, {2}), "has 8 bytes");
    CHECK_THROWS(map(file, 0, {int64_t{1} << 40, int64_t{1} << 40}), "too large");
    CHECK_THROWS(map(folder.path.string(), 0, {1}), "is not a regular file");
    CHECK_THROWS(map(folder.file("none"), 0, {1}), "No such file");
}

TEST(a_mapped_tensor_cannot_be_written) {
    const Folder folder;
    const std::string file = folder.write("t", "12345678", 8);
    Context c = context();
    c.map("w", file, 0, DType::f32, {2});
    CHECK_THROWS(c.write("w", 0, std::as_bytes(std::span("abc", 4))), "read-only");
    CHECK_THROWS(c.load(R"({"version":2,"digest":"d","name":"p","alignment":64,"arenaBytes":0,"buffers":[{"name":"w","dtype":"f32",
        "shape":[2],"space":"tensor","offset":null,"view":null}],"events":[],"records":[{"op":"fill","inputs":{},"outputs":{"y":[0]},
        "attrs":{"value":1},"stream":0,"waits":[],"signals":[],"when":"always","phase":"","scope":""}],"segments":[{"from":0,"to":1,"loop":null}],
        "programs":{"go":[0,1]},"step":[]})"), "writes the tensor 'w', which is mapped from a file");
}

TEST(half_precision_is_exact_for_every_value) {
    const Folder folder;
    std::vector<uint16_t> halves(65536);
    for (size_t i = 0; i < halves.size(); i++) halves[i] = static_cast<uint16_t>(i);
    const std::string file = folder.write("h", halves.data(), halves.size() * 2);
    dequantize(file, 0, 1, halves.size(), folder.file("f"), 0, DType::f32, 2);
    const auto floats = contents<float>(folder.file("f"));
    CHECK_EQ(floats.size(), halves.size());
    for (size_t h = 0; h < floats.size(); h++) {
        const int exponent = static_cast<int>(h >> 10 & 31), mantissa = static_cast<int>(h & 1023);
        const double sign = h & 0x8000 ? -1 : 1;
        const double expected = exponent == 0    ? sign * std::ldexp(mantissa, -24)
                                : exponent < 31  ? sign * std::ldexp(1024 + mantissa, exponent - 25)
                                : mantissa == 0  ? sign * std::numeric_limits<double>::infinity()
                                                 : std::nan("");
        if (std::isnan(expected)) CHECK(std::isnan(floats[h]));
        else CHECK_EQ(static_cast<double>(floats[h]), expected);
    }
}

TEST(bf16_is_rounded_to_nearest_even) {
    const Folder folder;
    const std::vector<uint32_t> bits = {0x3f800000, 0x3f808000, 0x3f818000, 0x3f808001, 0x7f7fffff, 0x7fc00001, 0x7f800001, 0xff800000};
    const std::string file = folder.write("f", bits.data(), bits.size() * 4);
    dequantize(file, 0, 0, bits.size(), folder.file("b"), 2, DType::bf16, 2);
    const auto rounded = contents<uint16_t>(folder.file("b"));
    const std::vector<uint16_t> expected = {0, 0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x7f80, 0x7fc0, 0x7fc0, 0xff80};
    CHECK(rounded == expected);
}

TEST(large_tensors_are_converted_piece_by_piece) {
    const Folder folder;
    constexpr size_t N = (size_t{1} << 19) + 32; // Q8_0, past two pieces
    std::vector<uint8_t> blocks(N / 32 * 34);
    for (size_t b = 0; b < N / 32; b++) {
        blocks[b * 34 + 1] = 0x3c; // d = 1
        for (size_t i = 0; i < 32; i++) blocks[b * 34 + 2 + i] = static_cast<uint8_t>(b + i);
    }
    const std::string file = folder.write("q", blocks.data(), blocks.size());
    dequantize(file, 0, 8, N, folder.file("f"), 0, DType::f32, 2);
    const auto values = contents<float>(folder.file("f"));
    CHECK_EQ(values.size(), N);
    for (size_t i = 0; i < N; i++) CHECK_EQ(values[i], static_cast<float>(static_cast<int8_t>(i / 32 + i % 32)));
}

TEST(dequantize_refuses_what_it_cannot_do) {
    const Folder folder;
    const std::string file = folder.write("q", std::string(34, 'x').data(), 34), out = folder.file("o");
    CHECK_THROWS(dequantize(file, 0, 99, 32, out, 0, DType::f32, 2), "unknown ggml type 99; known are F32 (0), F16 (1)");
    CHECK_THROWS(dequantize(file, 0, 8, 31, out, 0, DType::f32, 2), "are not whole blocks of 32, as Q8_0 has them");
    CHECK_THROWS(dequantize(file, 0, 8, 64, out, 0, DType::f32, 2), "has 34 bytes, not the 68 from offset 0");
    CHECK_THROWS(dequantize(file, 1, 8, 32, out, 0, DType::f32, 2), "from offset 1");
    CHECK_THROWS(dequantize(file, 0, 0, SIZE_MAX / 2, out, 0, DType::f32, 2), "has 34 bytes");
    CHECK_THROWS(dequantize(file, 0, 8, 32, out, SIZE_MAX - 8, DType::f32, 2), "past any file's end");
    CHECK_THROWS(dequantize(file, 0, 8, 32, out, 0, DType::i32, 2), "cannot dequantize to i32");
    CHECK_THROWS(dequantize(file, 0, 8, 32, folder.file("no/folder"), 0, DType::f32, 2), "cannot open");
    CHECK(!std::filesystem::exists(out));
}

TEST(finds_the_first_value_that_is_not_finite) {
    const Folder folder;
    std::vector<float> values((size_t{1} << 21) + 77, 1.0f);
    auto search = [&] { return first_non_finite(folder.write("v", values.data(), values.size() * 4), 4, DType::f32, values.size() - 1, 2); };
    CHECK_EQ(search(), -1);
    values.back() = std::numeric_limits<float>::infinity();
    CHECK_EQ(search(), static_cast<int64_t>(values.size()) - 2);
    values[1234567] = std::nanf("");
    CHECK_EQ(search(), 1234566);
    values[0] = std::nanf(""); // before the range
    CHECK_EQ(search(), 1234566);
}

TEST(finds_infinities_of_16_bits) {
    const Folder folder;
    const std::vector<uint16_t> values = {0x3f80, 0x7c00, 0xff80};
    const std::string file = folder.write("v", values.data(), 6);
    CHECK_EQ(first_non_finite(file, 0, DType::bf16, 3, 2), 2);
    CHECK_EQ(first_non_finite(file, 0, DType::f16, 3, 2), 1);
    CHECK_THROWS(first_non_finite(file, 0, DType::f16, 4, 2), "has 6 bytes");
}

// RFC 3720, B.4, and the "123456789" of every CRC catalogue.
TEST(crc32c_has_the_known_answers) {
    std::vector<uint8_t> bytes(32);
    for (auto crc : {crc32c, crc32c_portable}) {
        std::fill(bytes.begin(), bytes.end(), 0);
        CHECK_EQ(crc(bytes.data(), 32, 0), 0x8a9136aau);
        std::fill(bytes.begin(), bytes.end(), 0xff);
        CHECK_EQ(crc(bytes.data(), 32, 0), 0x62a8ab43u);
        for (size_t i = 0; i < 32; i++) bytes[i] = static_cast<uint8_t>(i);
        CHECK_EQ(crc(bytes.data(), 32, 0), 0x46dd794eu);
        CHECK_EQ(crc("123456789", 9, 0), 0xe3069283u);
        CHECK_EQ(crc("", 0, 0), 0u);
    }
}

TEST(crc32c_continues_at_any_byte) {
    std::vector<uint8_t> bytes(1000);
    for (size_t i = 0; i < bytes.size(); i++) bytes[i] = static_cast<uint8_t>(i * i);
    const uint32_t whole = crc32c_portable(bytes.data(), bytes.size(), 0);
    for (size_t cut = 0; cut <= 40; cut++) {
        const uint32_t head = crc32c(bytes.data(), cut, 0);
        CHECK_EQ(crc32c(bytes.data() + cut, bytes.size() - cut, head), whole);
    }
}

TEST(work_on_files_uses_the_threads_it_is_given) {
    for (int threads : {1, 2, 3}) {
        std::mutex mutex;
        std::set<std::thread::id> used;
        std::atomic<int> pieces{0};
        for_each_piece(threads, 64, [&](size_t) {
            pieces++;
            std::lock_guard lock(mutex);
            used.insert(std::this_thread::get_id());
        });
        CHECK_EQ(pieces.load(), 64);
        CHECK(used.size() <= static_cast<size_t>(threads));
    }
    CHECK_THROWS((for_each_piece(2, 8, [](size_t piece) { if (piece == 5) throw std::runtime_error("piece 5"); }), 0), "piece 5");
}

TEST(work_on_files_beside_other_such_work_uses_its_own_thread_alone) {
    const std::thread::id here = std::this_thread::get_id();
    std::atomic<bool> begun{false}, over{false};
    std::thread other([&] {
        for_each_piece(2, 1, [&](size_t) {
            begun = true;
            while (!over) std::this_thread::yield();
        });
    });
    while (!begun) std::this_thread::yield();
    int elsewhere = 0;
    for_each_piece(4, 256, [&](size_t) { elsewhere += std::this_thread::get_id() != here; });
    over = true;
    other.join();
    CHECK_EQ(elsewhere, 0);
}
