#include "parallel.hpp"

#include "thread_pool.hpp"

#include <mutex>

namespace temper {

void for_each_piece(int threads, size_t pieces, const std::function<void(size_t)>& body) {
    static std::mutex one_team_at_a_time;
    const std::unique_lock lock(one_team_at_a_time, std::try_to_lock);
    const size_t team = lock.owns_lock() ? std::min(pieces, static_cast<size_t>(threads)) : 1;
    ThreadPool pool(static_cast<int>(std::max<size_t>(1, team)));
    pool.threads().run(static_cast<int64_t>(pieces), [&](int64_t piece, int) { body(static_cast<size_t>(piece)); });
}

} // namespace temper
