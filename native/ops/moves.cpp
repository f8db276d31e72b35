// upload, copy, download: y = x from input slots to the device, within it, and from it to output slots.
#include "expect.hpp"

namespace temper {

static void check(const Operands& record) {
    expect(!record.in.empty() && record.in.size() == record.out.size(), record, "takes as many outputs as inputs, and at least one");
    for (size_t i = 0; i < record.in.size(); i++) {
        expect(record.in[i].dtype == record.out[i].dtype, record, "an input and its output differ in dtype");
        expect(record.in[i].shape == record.out[i].shape, record, "an input and its output differ in shape");
    }
}

extern const OpRules upload_rules = {"upload", check, {{"x", true}}, {{"y", true}}};
extern const OpRules copy_rules = {"copy", check, {{"x", true}}, {{"y", true}}};
extern const OpRules download_rules = {"download", check, {{"x", true}}, {{"y", true}}};

} // namespace temper
