#include "context_object.hpp"

#include "arguments.hpp"

namespace temper {

struct ContextObject::Pending {
    Napi::Promise::Deferred deferred;
    Napi::ObjectReference result;
    std::optional<Failure> failure;
};

Napi::Function ContextObject::define(Napi::Env env) {
    return DefineClass(env, "NativeContext",
                       {
                           InstanceMethod<&ContextObject::allocate>("allocate"),
                           InstanceMethod<&ContextObject::map>("map"),
                           InstanceMethod<&ContextObject::free>("free"),
                           InstanceMethod<&ContextObject::write>("write"),
                           InstanceMethod<&ContextObject::read>("read"),
                           InstanceMethod<&ContextObject::load>("load"),
                           InstanceMethod<&ContextObject::unload>("unload"),
                           InstanceMethod<&ContextObject::run>("run"),
                           InstanceMethod<&ContextObject::prepare>("prepare"),
                           InstanceMethod<&ContextObject::abort>("abort"),
                           InstanceMethod<&ContextObject::progress>("progress"),
                           InstanceMethod<&ContextObject::profile>("profile"),
                           InstanceMethod<&ContextObject::profile_times>("profileTimes"),
                           InstanceMethod<&ContextObject::poison>("poison"),
                           InstanceMethod<&ContextObject::close>("close"),
                       });
}

ContextObject::ContextObject(const Napi::CallbackInfo& info) : ObjectWrap(info), env_(info.Env()) {
    const auto options = info[0].As<Napi::Object>();
    context_ = std::make_unique<Context>(to_target(options), to_text(options.Get("device")));
    settler_ = Settler::New(info.Env(), "temper", 0, 1, this);
    settler_.Unref(info.Env());
    // After the thread-safe function, so that at exit the engine thread is joined before that goes.
    napi_add_env_cleanup_hook(env_, at_exit, this);
}

// Reached by the garbage collector only when nothing is pending: pending work keeps the object alive.
ContextObject::~ContextObject() { shut_down(); }

void ContextObject::at_exit(void* self) { static_cast<ContextObject*>(self)->shut_down(); }

void ContextObject::shut_down() {
    if (closed_) return;
    closed_ = true;
    napi_remove_env_cleanup_hook(env_, at_exit, this);
    context_->close();
    settler_.Release(); // what is queued is still settled
}

// --- Tensors ---------------------------------------------------------------------------------------------------------

Napi::Value ContextObject::allocate(const Napi::CallbackInfo& info) {
    with_codes(info.Env(), [&] { context_->allocate(to_text(info[0]), dtype_of(to_text(info[1])), to_shape(info[2])); });
    return info.Env().Undefined();
}

Napi::Value ContextObject::map(const Napi::CallbackInfo& info) {
    with_codes(info.Env(), [&] {
        context_->map(to_text(info[0]), to_text(info[1]), to_size(info[2]), dtype_of(to_text(info[3])), to_shape(info[4]));
    });
    return info.Env().Undefined();
}

Napi::Value ContextObject::free(const Napi::CallbackInfo& info) {
    context_->free(to_text(info[0]));
    return info.Env().Undefined();
}

Napi::Value ContextObject::write(const Napi::CallbackInfo& info) {
    with_codes(info.Env(), [&] { context_->write(to_text(info[0]), to_size(info[1]), to_bytes(info[2])); });
    return info.Env().Undefined();
}

Napi::Value ContextObject::read(const Napi::CallbackInfo& info) {
    const size_t offset = to_size(info[1]), bytes = to_size(info[2]);
    const size_t size = context_->tensor_bytes(to_text(info[0])); // before a buffer of any size is made
    if (offset > size || bytes > size - offset) context_->read(to_text(info[0]), offset, bytes, nullptr); // throws
    const auto buffer = Napi::ArrayBuffer::New(info.Env(), bytes);
    with_codes(info.Env(), [&] { context_->read(to_text(info[0]), offset, bytes, const_cast<Napi::ArrayBuffer&>(buffer).Data()); });
    return buffer;
}

// --- Plans -----------------------------------------------------------------------------------------------------------

Napi::Value ContextObject::load(const Napi::CallbackInfo& info) {
    Context::Loaded loaded{};
    with_codes(info.Env(), [&] { loaded = context_->load(to_text(info[0])); });
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("plan", loaded.plan);
    result.Set("arenaBytes", static_cast<double>(loaded.arena_bytes));
    result.Set("workspaceBytes", static_cast<double>(loaded.workspace_bytes));
    return result;
}

Napi::Value ContextObject::unload(const Napi::CallbackInfo& info) {
    context_->unload(static_cast<int>(to_size(info[0])));
    return info.Env().Undefined();
}

// --- Work ------------------------------------------------------------------------------------------------------------

// While a promise is pending, the event loop stays alive and so does this object.
void ContextObject::retain(Napi::Env env) {
    if (pending_++ > 0) return;
    settler_.Ref(env);
    Ref();
}

void ContextObject::release(Napi::Env env) {
    if (--pending_ > 0) return;
    if (!closed_) settler_.Unref(env);
    Unref();
}

template <class Start> Napi::Value ContextObject::promise(Napi::Env env, Napi::Object result, Start start) {
    auto pending = std::make_unique<Pending>(Pending{Napi::Promise::Deferred::New(env), Napi::Persistent(result), {}});
    const Napi::Value promise = pending->deferred.Promise();
    start([this, raw = pending.get()](const Failure* failure) {
        if (failure) raw->failure = *failure;
        settler_.BlockingCall(raw);
    });
    pending.release(); // the engine thread has it, and settle() deletes it
    retain(env);
    return promise;
}

void ContextObject::settle(Napi::Env env, Napi::Function, ContextObject* self, Pending* pending) {
    const std::unique_ptr<Pending> owned(pending);
    if (env == nullptr) { // the environment is going: nobody is left to hear of it
        owned->result.SuppressDestruct();
        return;
    }
    const Napi::HandleScope scope(env);
    if (owned->failure) owned->deferred.Reject(to_error(env, owned->failure->message, owned->failure->status).Value());
    else owned->deferred.Resolve(owned->result.Value());
    self->release(env);
}

Napi::Value ContextObject::run(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const int plan = static_cast<int>(to_size(info[0]));
    const std::string program = to_text(info[1]);
    const auto given = info[2].As<Napi::Object>();
    const Napi::Array names = given.GetPropertyNames();
    Context::Inputs inputs;
    for (uint32_t i = 0; i < names.Length(); i++) {
        const Napi::Value name = names.Get(i);
        inputs.emplace(to_text(name), to_bytes(given.Get(name)));
    }
    const auto options = info[3].As<Napi::Object>();
    const MicroBatch micro_batch{to_flag(options.Get("first")), to_flag(options.Get("last"))};
    const auto into = options.Get("into").As<Napi::Object>();

    // The engine thread writes into the buffers that the promise resolves to, which keeps them alive.
    Napi::Object result = Napi::Object::New(env);
    std::vector<void*> destinations;
    for (const OutputSlot& slot : context_->outputs(plan, program)) {
        const Napi::Value given_buffer = into.Get(slot.name);
        auto buffer = given_buffer.IsArrayBuffer() ? given_buffer.As<Napi::ArrayBuffer>() : Napi::ArrayBuffer::New(env, slot.bytes);
        if (buffer.ByteLength() != slot.bytes)
            throw Napi::RangeError::New(env, "the buffer for the output '" + slot.name + "' has " + std::to_string(buffer.ByteLength()) +
                                                 " bytes, not " + std::to_string(slot.bytes));
        destinations.push_back(buffer.Data());
        result.Set(slot.name, buffer);
    }
    return promise(env, result, [&](Context::Done done) {
        context_->run(plan, program, inputs, micro_batch, std::move(destinations), std::move(done));
    });
}

Napi::Value ContextObject::prepare(const Napi::CallbackInfo& info) {
    return promise(info.Env(), Napi::Object::New(info.Env()),
                   [&](Context::Done done) { context_->prepare(std::move(done)); });
}

Napi::Value ContextObject::abort(const Napi::CallbackInfo& info) {
    context_->abort();
    return info.Env().Undefined();
}

// --- Watching --------------------------------------------------------------------------------------------------------

Napi::Value ContextObject::progress(const Napi::CallbackInfo& info) {
    const Progress progress = context_->progress();
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("records", static_cast<double>(progress.records));
    result.Set("runs", static_cast<double>(progress.runs));
    result.Set("arenaHighWater", static_cast<double>(progress.arena_high));
    return result;
}

Napi::Value ContextObject::profile(const Napi::CallbackInfo& info) {
    context_->profile(to_flag(info[0]));
    return info.Env().Undefined();
}

Napi::Value ContextObject::profile_times(const Napi::CallbackInfo& info) {
    Napi::Array result = Napi::Array::New(info.Env());
    for (const OpTime& time : context_->profile_times()) {
        Napi::Object entry = Napi::Object::New(info.Env());
        entry.Set("op", time.op);
        entry.Set("runs", static_cast<double>(time.runs));
        entry.Set("seconds", time.seconds);
        result.Set(result.Length(), entry);
    }
    return result;
}

Napi::Value ContextObject::poison(const Napi::CallbackInfo& info) {
    context_->poison(to_flag(info[0]));
    return info.Env().Undefined();
}

Napi::Value ContextObject::close(const Napi::CallbackInfo& info) {
    shut_down();
    return info.Env().Undefined();
}

} // namespace temper
