// Reading JavaScript values. engine/context.ts and files.ts have checked them; what fails here is a bug, and says so by type.
#pragma once
#include "../backend/device.hpp"
#include "../engine/memory.hpp"

#include <cmath>
#include <napi.h>
#include <span>
#include <string>
#include <vector>

namespace temper {

inline std::string to_text(const Napi::Value& value) {
    if (!value.IsString()) throw Napi::TypeError::New(value.Env(), "expected a string");
    return value.As<Napi::String>().Utf8Value();
}

// A non-negative safe integer.
inline size_t to_size(const Napi::Value& value) {
    const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
    if (!(number >= 0 && number <= 9007199254740991.0 && number == std::floor(number)))
        throw Napi::TypeError::New(value.Env(), "expected a non-negative integer");
    return static_cast<size_t>(number);
}

inline bool to_flag(const Napi::Value& value) {
    if (!value.IsBoolean()) throw Napi::TypeError::New(value.Env(), "expected a boolean");
    return value.As<Napi::Boolean>();
}

inline std::vector<int64_t> to_shape(const Napi::Value& value) {
    if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "expected an array of integers");
    const auto array = value.As<Napi::Array>();
    std::vector<int64_t> shape;
    for (uint32_t i = 0; i < array.Length(); i++) shape.push_back(static_cast<int64_t>(to_size(array.Get(i))));
    return shape;
}

// The bytes of a Uint8Array, without a copy: valid during the call.
inline std::span<const std::byte> to_bytes(const Napi::Value& value) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
        throw Napi::TypeError::New(value.Env(), "expected a Uint8Array");
    const auto array = value.As<Napi::Uint8Array>();
    return {reinterpret_cast<const std::byte*>(array.Data()), array.ByteLength()};
}

// {backend, target, threads}
inline Target to_target(const Napi::Object& options) {
    return Target(find_backend(to_text(options.Get("backend"))), to_text(options.Get("target")),
                  static_cast<int>(to_size(options.Get("threads"))));
}

// An Error whose `code` says what the device answered; without one where the device is not to blame.
inline Napi::Error to_error(Napi::Env env, const std::string& message, TemperStatus status) {
    Napi::Error error = Napi::Error::New(env, message);
    const char* code = status == TEMPER_UNSUPPORTED     ? "UNSUPPORTED"
                       : status == TEMPER_OUT_OF_MEMORY ? "OUT_OF_MEMORY"
                       : status == TEMPER_DEVICE_LOST   ? "DEVICE_LOST"
                       : status == TEMPER_PEER_LOST     ? "PEER_LOST"
                                                        : nullptr;
    if (code) error.Set("code", Napi::String::New(env, code));
    return error;
}

// Throws what the device answered with its code.
template <class Work> void with_codes(Napi::Env env, const Work& work) {
    try {
        work();
    } catch (const BackendError& error) {
        throw to_error(env, error.what(), error.status);
    }
}

} // namespace temper
