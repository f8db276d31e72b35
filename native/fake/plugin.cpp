// A device for tests, loaded as a GPU's backend is: memory that only it can read, streams that run as late as they may,
// segments captured and replayed. Its kernels are the portable ones, so that it computes the CPU's bits. Set:
//   TEMPER_FAKE_ORDER=at_once   runs everything when it is enqueued; uploads_first: when the host waits, uploads before the
//                               rest; compute_first, the default: when the host waits, compute before the rest
//   TEMPER_FAKE_CAPTURE=off     runs segments record by record
//   TEMPER_FAKE_MEMORY=N        has N bytes
//   TEMPER_FAKE_ALIGNMENT=N     needs buffers in the arena to be aligned to N bytes
//   TEMPER_FAKE_LOST_AFTER=N    is lost after N records
//   TEMPER_FAKE_PEER_LOST_AFTER=N  misses another rank after N records
//   TEMPER_FAKE_WITHOUT=OP      has no kernel for that op
#include "../backend/host_device.hpp"

#include <cstdlib>

namespace temper {

namespace {

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

std::optional<uint64_t> number(const char* name) {
    const std::string text = variable(name);
    return text.empty() ? std::nullopt : std::optional<uint64_t>(std::stoull(text));
}

HostDevice::Options options_of(const TemperOptions& given) {
    HostDevice::Options options{.isa = "portable", .threads = given.threads, .hides_memory = true};
    const std::string order = variable("TEMPER_FAKE_ORDER");
    options.order = order == "at_once" ? Order::at_once : order == "uploads_first" ? Order::uploads_first : Order::compute_first;
    options.faults = {number("TEMPER_FAKE_MEMORY"), number("TEMPER_FAKE_LOST_AFTER"), number("TEMPER_FAKE_PEER_LOST_AFTER"),
                      variable("TEMPER_FAKE_WITHOUT")};
    return options;
}

const TemperBackend& fake_backend() {
    static const TemperBackend table = [] {
        TemperBackend fake = host_backend("fake");
        fake.targets = [](const TemperTarget** list, uint32_t* count) {
            return guarded([&] {
                thread_local TemperTarget target; // a test may have changed the variables since the last call
                target = {"fake", number("TEMPER_FAKE_ALIGNMENT").value_or(ALIGNMENT), variable("TEMPER_FAKE_CAPTURE") != "off", 1};
                *list = &target;
                *count = 1;
            });
        };
        fake.supports = [](const TemperOptions* options, const TemperRecord* record, TemperNeeds* needs) {
            return guarded([&] { host_supports(*record, "portable", options->threads, variable("TEMPER_FAKE_WITHOUT"), needs); });
        };
        fake.devices = [](const TemperDeviceInfo** list, uint32_t* count) {
            static const TemperDeviceInfo devices[] = {{"0", "fake device", physical_memory()}, {"1", "fake device", physical_memory()}};
            *list = devices;
            *count = 2;
            return TEMPER_OK;
        };
        fake.open = [](const char*, const TemperOptions* options, TemperDevice** device) {
            return guarded([&] { *device = new TemperDevice(options_of(*options)); });
        };
        return fake;
    }();
    return table;
}

} // namespace

} // namespace temper

extern "C" __attribute__((visibility("default"))) const TemperBackend* temper_backend(const char** reason) {
    (void)reason;
    return &temper::fake_backend();
}
