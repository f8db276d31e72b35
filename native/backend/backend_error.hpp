// An error with the status that stands for it in the table: the engine throws what a device returned, a device what it returns.
#pragma once
#include "backend.h"

#include <stdexcept>
#include <string>

namespace temper {

class BackendError : public std::runtime_error {
public:
    BackendError(TemperStatus status, const std::string& what) : std::runtime_error(what), status(status) {}
    const TemperStatus status; // neither OK nor PENDING
};

} // namespace temper
