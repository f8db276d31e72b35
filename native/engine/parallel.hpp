// Work on files, off the engine thread and on threads of its own.
#pragma once
#include <cstddef>
#include <functional>

namespace temper {

// Calls body(0) … body(pieces - 1) on at most `threads` threads; on the calling one alone while another such job of the
// process is under way. The first exception ends the work and is rethrown.
void for_each_piece(int threads, size_t pieces, const std::function<void(size_t)>& body);

} // namespace temper
