// Work on files, off the engine thread and without its OpenMP pool.
#pragma once
#include <cstddef>
#include <functional>

namespace temper {

// Cores this process may use (its affinity mask).
int usable_cores();

// Calls body(0) … body(pieces - 1) on as many threads as are useful. The first exception ends the work and is rethrown.
void for_each_piece(size_t pieces, const std::function<void(size_t)>& body);

} // namespace temper
