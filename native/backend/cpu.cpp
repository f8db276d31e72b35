// The CPU's backend: its kernel sets are its targets.
#include "device.hpp"
#include "host_device.hpp"

namespace temper {

const TemperBackend& cpu_backend() {
    static const TemperBackend table = [] {
        TemperBackend cpu = host_backend("cpu");
        cpu.targets = [](const TemperTarget** list, uint32_t* count) {
            return guarded([&] {
                static const std::vector<std::string> names = available_isas();
                static const std::vector<TemperTarget> targets = [] {
                    std::vector<TemperTarget> all;
                    for (const std::string& name : names) all.push_back({name.c_str(), ALIGNMENT, 0, 0});
                    return all;
                }();
                *list = targets.data();
                *count = static_cast<uint32_t>(targets.size());
            });
        };
        cpu.supports = [](const TemperOptions* options, const TemperRecord* record, TemperNeeds* needs) {
            return guarded([&] { host_supports(*record, options->target, options->threads, "", needs); });
        };
        cpu.devices = [](const TemperDeviceInfo** list, uint32_t* count) {
            static const TemperDeviceInfo cpus{"0", "CPU", physical_memory()};
            *list = &cpus;
            *count = 1;
            return TEMPER_OK;
        };
        cpu.open = [](const char*, const TemperOptions* options, TemperDevice** device) {
            return guarded([&] { *device = new TemperDevice({.isa = options->target, .threads = options->threads}); });
        };
        return cpu;
    }();
    return table;
}

} // namespace temper
