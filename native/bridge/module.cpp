// The Node-API face of the engine: plain data in and out, in the order of engine/native.ts. Validation of what a user
// may get wrong and all defaults are in engine/context.ts and files.ts.
#include "context_object.hpp"

#include "../engine/crc32c.hpp"
#include "../engine/non_finite.hpp"
#include "../gguf/dequantize.hpp"
#include "arguments.hpp"

#include <csignal>
#include <fstream>
#include <functional>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__GLIBC__)
#include <gnu/libc-version.h>
#endif

namespace temper {

namespace {

std::string cpu_name() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.starts_with("model name")) return line.substr(line.find(": ") + 2);
    utsname system;
    return uname(&system) == 0 ? system.machine : "unknown";
}

// What the numbers depend on beside our own source.
Napi::Object libraries(Napi::Env env) {
    Napi::Object libraries = Napi::Object::New(env);
#if defined(__clang__)
    libraries.Set("compiler", std::string("clang ") + __clang_version__);
#else
    libraries.Set("compiler", std::string("gcc ") + __VERSION__);
#endif
#if defined(__GLIBC__)
    libraries.Set("libc", std::string("glibc ") + gnu_get_libc_version());
#endif
    return libraries;
}

// Names of the targets that a backend has on this machine, best first.
Napi::Array targets_of(Napi::Env env, const TemperBackend& backend) {
    const TemperTarget* list = nullptr;
    uint32_t count = 0;
    if (backend.targets(&list, &count) != TEMPER_OK) throw Napi::Error::New(env, backend.last_error());
    Napi::Array names = Napi::Array::New(env);
    for (uint32_t i = 0; i < count; i++) names.Set(i, list[i].name);
    return names;
}

Napi::Value capabilities(const Napi::CallbackInfo& info) {
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("version", TEMPER_VERSION);
    result.Set("isas", targets_of(info.Env(), find_backend("cpu")));
    result.Set("cpu", cpu_name());
    result.Set("libraries", libraries(info.Env()));
    return result;
}

Napi::Array groups_of(Napi::Env env, const Group* groups) {
    Napi::Array list = Napi::Array::New(env);
    for (const Group* group = groups; group->name; group++) {
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("name", group->name);
        entry.Set("arity", group->many ? "many" : "one");
        entry.Set("when", group->when ? Napi::String::New(env, group->when).As<Napi::Value>() : env.Null());
        list.Set(list.Length(), entry);
    }
    return list;
}

// Operands, attributes and in-place pairs of every op, for the compiler's tests: it has the same table (graph/ops).
Napi::Value op_table(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    Napi::Array table = Napi::Array::New(env);
    for (const std::string& name : op_names()) {
        const OpRules& rules = *find_rules(name);
        Napi::Object attributes = Napi::Object::New(env);
        for (const Attribute* attribute = rules.attributes; attribute->key; attribute++)
            attributes.Set(attribute->key, name_of(attribute->type));
        Napi::Array in_place = Napi::Array::New(env);
        for (const InPlace* pair = rules.in_place; pair->output >= 0; pair++) {
            Napi::Object entry = Napi::Object::New(env);
            entry.Set("output", pair->output);
            entry.Set("input", pair->input);
            entry.Set("when", pair->when ? Napi::String::New(env, pair->when).As<Napi::Value>() : env.Null());
            in_place.Set(in_place.Length(), entry);
        }
        Napi::Object entry = Napi::Object::New(env);
        entry.Set("name", name);
        entry.Set("inputs", groups_of(env, rules.inputs));
        entry.Set("outputs", groups_of(env, rules.outputs));
        entry.Set("attributes", attributes);
        entry.Set("inPlace", in_place);
        table.Set(table.Length(), entry);
    }
    return table;
}

Napi::Value targets(const Napi::CallbackInfo& info) {
    return targets_of(info.Env(), find_backend(to_text(info[0])));
}

// What a plan for the target may hold, and how it is laid out.
Napi::Value target_properties(const Napi::CallbackInfo& info) {
    Napi::Object properties = Napi::Object::New(info.Env());
    with_codes(info.Env(), [&] {
        const Target target = to_target(info[0].As<Napi::Object>());
        Napi::Array kernels = Napi::Array::New(info.Env());
        for (const std::string& op : op_names())
            if (target.has_kernel(op)) kernels.Set(kernels.Length(), op);
        properties.Set("kernels", kernels);
        properties.Set("alignment", static_cast<double>(target.alignment()));
    });
    return properties;
}

// What a plan needs beside its tensors, which need not exist.
Napi::Value plan_needs(const Napi::CallbackInfo& info) {
    Napi::Object needs = Napi::Object::New(info.Env());
    with_codes(info.Env(), [&] {
        const Plan plan = parse_plan(to_text(info[0]));
        const size_t workspace = workspace_bytes(check_records(plan, to_target(info[1].As<Napi::Object>())));
        needs.Set("arenaBytes", static_cast<double>(plan.arena_bytes));
        needs.Set("workspaceBytes", static_cast<double>(workspace));
    });
    return needs;
}

Napi::Value create_context(const Napi::CallbackInfo& info) {
    return info.Env().GetInstanceData<Napi::FunctionReference>()->New({info[0]});
}

// One job on files, on a thread of libuv's pool.
class FileWork : public Napi::AsyncWorker {
public:
    using Work = std::function<int64_t()>;

    static Napi::Value start(Napi::Env env, Work work, bool has_result) {
        auto* worker = new FileWork(env, std::move(work), has_result); // deletes itself when done
        worker->Queue();
        return worker->deferred_.Promise();
    }

private:
    FileWork(Napi::Env env, Work work, bool has_result)
        : AsyncWorker(env), deferred_(env), work_(std::move(work)), has_result_(has_result) {}
    void Execute() override { result_ = work_(); }
    void OnOK() override {
        deferred_.Resolve(has_result_ ? Napi::Number::New(Env(), static_cast<double>(result_)) : Env().Undefined());
    }
    void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

    Napi::Promise::Deferred deferred_;
    Work work_;
    bool has_result_;
    int64_t result_ = 0;
};

Napi::Value dequantize_file(const Napi::CallbackInfo& info) {
    return FileWork::start(
        info.Env(),
        [file = to_text(info[0]), offset = to_size(info[1]), type = to_size(info[2]), elements = to_size(info[3]),
         output = to_text(info[4]), output_offset = to_size(info[5]), dtype = dtype_of(to_text(info[6])),
         threads = static_cast<int>(to_size(info[7]))] {
            dequantize(file, offset, static_cast<int>(type), elements, output, output_offset, dtype, threads);
            return int64_t{0};
        },
        false);
}

Napi::Value first_non_finite_in_file(const Napi::CallbackInfo& info) {
    return FileWork::start(
        info.Env(),
        [file = to_text(info[0]), offset = to_size(info[1]), dtype = dtype_of(to_text(info[2])),
         elements = to_size(info[3]),
         threads = static_cast<int>(to_size(info[4]))] { return first_non_finite(file, offset, dtype, elements, threads); },
        true);
}

Napi::Value crc32c_of(const Napi::CallbackInfo& info) {
    const auto data = to_bytes(info[0]);
    const auto crc = info[1].As<Napi::Number>().Uint32Value();
    return Napi::Number::New(info.Env(), crc32c(data.data(), data.size(), crc));
}

// The kernel ends this process with its parent, also while it is stopped or blocked. False where the system cannot.
Napi::Value end_with_parent(const Napi::CallbackInfo& info) {
#if defined(__linux__)
    const pid_t parent = getppid();
    const bool armed = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    if (getppid() != parent) kill(getpid(), SIGKILL); // it ended in between
    return Napi::Boolean::New(info.Env(), armed);
#else
    return Napi::Boolean::New(info.Env(), false);
#endif
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
    // One constructor per environment: the module is loaded once per worker thread.
    env.SetInstanceData(new Napi::FunctionReference(Napi::Persistent(ContextObject::define(env))));
    exports.Set("capabilities", Napi::Function::New(env, capabilities));
    exports.Set("opTable", Napi::Function::New(env, op_table));
    exports.Set("targets", Napi::Function::New(env, targets));
    exports.Set("targetProperties", Napi::Function::New(env, target_properties));
    exports.Set("planNeeds", Napi::Function::New(env, plan_needs));
    exports.Set("createContext", Napi::Function::New(env, create_context));
    exports.Set("dequantize", Napi::Function::New(env, dequantize_file));
    exports.Set("firstNonFinite", Napi::Function::New(env, first_non_finite_in_file));
    exports.Set("crc32c", Napi::Function::New(env, crc32c_of));
    exports.Set("endWithParent", Napi::Function::New(env, end_with_parent));
    return exports;
}

} // namespace

NODE_API_MODULE(temper, initialize)

} // namespace temper
