// A Context as a JavaScript object. Promises are settled on the JavaScript thread through one thread-safe function.
#pragma once
#include "../engine/context.hpp"

#include <memory>
#include <napi.h>

namespace temper {

class ContextObject : public Napi::ObjectWrap<ContextObject> {
public:
    static Napi::Function define(Napi::Env env);
    explicit ContextObject(const Napi::CallbackInfo& info);
    ~ContextObject() override;

private:
    struct Pending; // a promise, and what it resolves to

    Napi::Value allocate(const Napi::CallbackInfo& info);
    Napi::Value map(const Napi::CallbackInfo& info);
    Napi::Value free(const Napi::CallbackInfo& info);
    Napi::Value write(const Napi::CallbackInfo& info);
    Napi::Value read(const Napi::CallbackInfo& info);
    Napi::Value load(const Napi::CallbackInfo& info);
    Napi::Value unload(const Napi::CallbackInfo& info);
    Napi::Value run(const Napi::CallbackInfo& info);
    Napi::Value prepare(const Napi::CallbackInfo& info);
    Napi::Value abort(const Napi::CallbackInfo& info);
    Napi::Value progress(const Napi::CallbackInfo& info);
    Napi::Value profile(const Napi::CallbackInfo& info);
    Napi::Value profile_times(const Napi::CallbackInfo& info);
    Napi::Value poison(const Napi::CallbackInfo& info);
    Napi::Value close(const Napi::CallbackInfo& info);

    // Starts a job whose completion settles the promise that is returned.
    template <class Start> Napi::Value promise(Napi::Env env, Napi::Object result, Start start);
    static void settle(Napi::Env env, Napi::Function, ContextObject* self, Pending* pending);
    void retain(Napi::Env env);
    void release(Napi::Env env);
    void shut_down();
    static void at_exit(void* self);

    using Settler = Napi::TypedThreadSafeFunction<ContextObject, Pending, settle>;

    std::unique_ptr<Context> context_;
    Settler settler_;
    napi_env env_;
    int pending_ = 0; // promises not yet settled
    bool closed_ = false;
};

} // namespace temper
