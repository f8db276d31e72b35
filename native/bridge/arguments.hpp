// Reading JavaScript values. engine/context.ts and files.ts have checked them; what fails here is a bug, and says so by type.
#pragma once
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

inline std::vector<std::string> to_texts(const Napi::Value& value) {
    if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "expected an array of strings");
    const auto array = value.As<Napi::Array>();
    std::vector<std::string> texts;
    for (uint32_t i = 0; i < array.Length(); i++) texts.push_back(to_text(array.Get(i)));
    return texts;
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

} // namespace temper
