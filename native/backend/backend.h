/*
 * The table through which the engine reaches a device. The CPU's is linked into the addon; others are plugins found by
 * dlopen (CUDA, and the fake device of the tests). The engine touches no byte of a tensor but through it.
 *
 * Plain C: no STL and no exceptions across it, and fields are only ever added at the end. Every function may be called from
 * any thread and returns a status; what went wrong is in last_error() of the calling thread. Nothing here decides what runs
 * or where it lies: that is in the plan.
 */
#ifndef TEMPER_BACKEND_H
#define TEMPER_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TEMPER_BACKEND_ABI 1

/* Each status has one reaction; docs/engine.md lists them. */
typedef enum TemperStatus {
    TEMPER_OK = 0,
    TEMPER_PENDING,       /* of query(): not yet */
    TEMPER_UNSUPPORTED,   /* the target has no kernel for this record */
    TEMPER_INVALID,       /* the caller's mistake: an argument that cannot be */
    TEMPER_OUT_OF_MEMORY,
    TEMPER_DEVICE_LOST,   /* for good: the process has to end */
    TEMPER_PEER_LOST      /* another rank is gone: the generation has to end */
} TemperStatus;

typedef enum TemperDType {
    TEMPER_F32, TEMPER_BF16, TEMPER_F16, TEMPER_F64, TEMPER_I32, TEMPER_U8, TEMPER_I8, TEMPER_F8E4M3, TEMPER_F8E5M2
} TemperDType;

/* What a plan may be prepared for; known without a device. */
typedef struct TemperTarget {
    const char* name;      /* "avx512_bf16", "sm90", "fake" */
    size_t alignment;      /* of buffers in the arena, bytes */
    int32_t captures;      /* whether segments are captured, and replayed from then on */
    int32_t runs_beside;   /* whether the host goes on while its streams run */
} TemperTarget;

typedef struct TemperTensor {
    TemperDType dtype;
    uint32_t rank;
    const int64_t* shape;
    void* data;            /* in the device's memory; null where only the type is asked for */
} TemperTensor;

typedef enum TemperAttributeType { TEMPER_NUMBER, TEMPER_FLAG, TEMPER_TEXT, TEMPER_NUMBERS, TEMPER_FLAGS } TemperAttributeType;

typedef struct TemperAttribute {
    const char* key;
    TemperAttributeType type;
    double number;         /* of a number; of a flag 0 or 1 */
    const char* text;
    const double* numbers; /* of numbers, and of flags 0 or 1 each */
    uint32_t count;
} TemperAttribute;

/* A record that native/ops has checked. Operands are in the order of the op's groups; groups of many alternate. */
typedef struct TemperRecord {
    const char* op;
    uint32_t inputs, outputs, attributes; /* lengths of the next three */
    const TemperTensor* input;
    const TemperTensor* output;
    const TemperAttribute* attribute;
} TemperRecord;

typedef struct TemperNeeds {
    size_t scratch;        /* bytes, an upper bound */
    int32_t capturable;
} TemperNeeds;

typedef struct TemperDeviceInfo {
    const char* id;        /* to open it by */
    const char* name;
    size_t memory;         /* bytes */
} TemperDeviceInfo;

typedef struct TemperOptions {
    const char* target;    /* one of targets() */
    int32_t threads;       /* of the host, for kernels that run on it */
} TemperOptions;

typedef struct TemperDevice TemperDevice;
typedef struct TemperCall TemperCall;
typedef struct TemperGraph TemperGraph;

/* Streams: those of plans, and one for tensors that the host reads and writes by itself. */
enum { TEMPER_COMPUTE, TEMPER_GATHER, TEMPER_REDUCE, TEMPER_UPLOAD, TEMPER_DOWNLOAD, TEMPER_HOST_ACCESS, TEMPER_STREAMS };

typedef struct TemperBackend {
    uint32_t abi;          /* TEMPER_BACKEND_ABI */
    uint32_t bytes;        /* sizeof(TemperBackend) where it was filled */
    const char* name;
    const char* (*last_error)(void);

    /* Without a device: these answer on a machine that has no driver. */
    TemperStatus (*targets)(const TemperTarget** list, uint32_t* count); /* that this machine can run, best first */
    /* With null for the needs: whether there is a kernel for the op at all; the record has no operands then. */
    TemperStatus (*supports)(const TemperOptions*, const TemperRecord*, TemperNeeds*);
    TemperStatus (*devices)(const TemperDeviceInfo** list, uint32_t* count);

    TemperStatus (*open)(const char* id, const TemperOptions*, TemperDevice**);
    void (*close)(TemperDevice*);
    TemperStatus (*memory)(TemperDevice*, size_t* free, size_t* total);
    TemperStatus (*allocate)(TemperDevice*, size_t bytes, void** at); /* zero-filled */
    /* A read-only tensor from a file. Where the device's memory is the host's it is mapped if its offset allows it. */
    TemperStatus (*load)(TemperDevice*, const char* file, uint64_t offset, size_t bytes, size_t element, void** at);
    TemperStatus (*release)(TemperDevice*, void* at); /* of allocate or load */

    /* These take a stream and may return before they are done; host memory stays as it is until an event after them. */
    TemperStatus (*fill)(TemperDevice*, void* at, int value, size_t bytes, int32_t stream);
    TemperStatus (*upload)(TemperDevice*, void* to, const void* from, size_t bytes, int32_t stream);
    TemperStatus (*download)(TemperDevice*, void* to, const void* from, size_t bytes, int32_t stream);
    TemperStatus (*copy)(TemperDevice*, void* to, const void* from, size_t bytes, int32_t stream);

    /* A record is prepared once; enqueueing it looks nothing up and allocates nothing. */
    TemperStatus (*prepare)(TemperDevice*, const TemperRecord*, void* scratch, TemperCall**);
    void (*discard)(TemperDevice*, TemperCall*);
    /* `first`: of the step's micro-batches; records that accumulate after the first overwrite. */
    TemperStatus (*enqueue)(TemperDevice*, TemperCall*, int32_t first, int32_t stream);

    /* Events are numbers below `count`. One that was never recorded counts as reached. */
    TemperStatus (*events)(TemperDevice*, uint32_t count);
    TemperStatus (*record)(TemperDevice*, uint32_t event, int32_t stream);
    TemperStatus (*wait)(TemperDevice*, uint32_t event, int32_t stream);
    TemperStatus (*query)(TemperDevice*, uint32_t event);       /* OK, PENDING, or what went wrong before it */
    TemperStatus (*synchronize)(TemperDevice*, int32_t stream); /* the host waits */

    /* What is enqueued on the stream between the two is kept, not run. Nothing in it may wait, record or allocate. */
    TemperStatus (*begin_capture)(TemperDevice*, int32_t stream);
    TemperStatus (*end_capture)(TemperDevice*, int32_t stream, TemperGraph**);
    TemperStatus (*launch)(TemperDevice*, TemperGraph*, int32_t stream);
    void (*drop)(TemperDevice*, TemperGraph*);
} TemperBackend;

/* The one symbol of a plugin. Null, with `reason` set, where it cannot serve. */
typedef const TemperBackend* (*TemperBackendEntry)(const char** reason);
#define TEMPER_BACKEND_ENTRY "temper_backend"

#ifdef __cplusplus
}
#endif
#endif
