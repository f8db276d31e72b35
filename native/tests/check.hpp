// The test harness of native/: no dependency, so that the same binaries run under qemu-user.
//
//     TEST(rmsnorm_divides_by_the_root_mean_square) { CHECK_CLOSE(y, 0.5, 1e-6); }
//
// Each *_test.cpp becomes one program that runs all its tests, or those whose name contains its first argument.
// A failed check is reported with its place and the test goes on; an exception ends the test it was thrown in.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace temper::check {

struct Test {
    const char* name;
    void (*body)();
};
inline std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}
struct Registration {
    Registration(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline int& failures() {
    static int count = 0;
    return count;
}

// The first failures of a test say what is wrong; thousands of differing elements say no more.
inline int& shown() {
    static int count = 0; // of the running test
    return count;
}
inline void fail(const char* file, int line, const std::string& what) {
    failures()++;
    if (++shown() <= 10) std::cout << "  " << file << ":" << line << ": " << what << "\n";
}

template <class A, class B> void equal(const char* file, int line, const char* text, const A& a, const B& b) {
    if (a == b) return;
    std::ostringstream out;
    out.precision(9);
    out << text << ": " << a << " is not " << b;
    fail(file, line, out.str());
}

// |a - b| <= tolerance; a NaN on one side only, or any NaN with a number, fails.
inline void close(const char* file, int line, const char* text, double a, double b, double tolerance) {
    if (a == b || std::fabs(a - b) <= tolerance) return;
    std::ostringstream out;
    out.precision(9);
    out << text << ": " << a << " differs from " << b << " by " << std::fabs(a - b) << " > " << tolerance;
    fail(file, line, out.str());
}

inline void throws(const char* file, int line, const char* text, const std::function<void()>& body,
                   const std::string& expected) {
    try {
        body();
    } catch (const std::exception& error) {
        if (std::string(error.what()).find(expected) == std::string::npos)
            fail(file, line, std::string(text) + " threw '" + error.what() + "', which lacks '" + expected + "'");
        return;
    }
    fail(file, line, std::string(text) + " did not throw");
}

inline int run(const char* filter) {
    int passed = 0, failed = 0;
    for (const Test& test : tests()) {
        if (filter && !std::strstr(test.name, filter)) continue;
        const int before = failures();
        shown() = 0;
        try {
            test.body();
        } catch (const std::exception& error) {
            fail(test.name, 0, std::string("threw ") + error.what());
        }
        const bool ok = failures() == before;
        ok ? passed++ : failed++;
        if (!ok) std::cout << "FAILED " << test.name << " (" << failures() - before << " checks)\n";
    }
    std::cout << passed << " passed, " << failed << " failed\n";
    return failed == 0 && passed > 0 ? 0 : 1;
}

} // namespace temper::check

#define TEST(name)                                                                                                     \
    static void test_##name();                                                                                         \
    static const temper::check::Registration registration_##name(#name, test_##name);                                  \
    static void test_##name()
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) temper::check::fail(__FILE__, __LINE__, #condition);                                         \
    } while (0)
#define CHECK_EQ(a, b) temper::check::equal(__FILE__, __LINE__, #a, a, b)
#define CHECK_CLOSE(a, b, tolerance) temper::check::close(__FILE__, __LINE__, #a, a, b, tolerance)
#define CHECK_THROWS(expression, message)                                                                              \
    temper::check::throws(__FILE__, __LINE__, #expression, [&] { (void)(expression); }, message)

int main(int argc, char** argv) {
    return temper::check::run(argc > 1 ? argv[1] : nullptr);
}
