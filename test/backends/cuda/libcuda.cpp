// A double of NVIDIA's driver in the host's memory, for the real cuda-python and pycuda above it.
//
// It is as late as a driver may be: what a stream is given is done only when somebody waits for it.
// So whoever reads too early, or changes a buffer that is still to be copied, gets wrong bytes.
// It refuses calls without a current context and copies from memory that is not page-locked, and
// counts what has not been freed. The one kernel it knows is that of letterbox.cu.
//
// It proves which calls are made, with which arguments and in which order. It proves nothing about
// time, and nothing about what a real driver or GPU makes of these calls.

#include "cpu.cpp"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <unistd.h>
#include <vector>

typedef int Result;
enum { OK = 0, INVALID_VALUE = 1, INVALID_CONTEXT = 201, NOT_SUPPORTED = 801 };

using Work = std::function<void()>;

struct Stream {
    std::mutex running;
    std::deque<Work> waiting;
    long given = 0, done = 0;
    bool capturing = false;
    std::vector<Work> captured;
};

struct Event {
    Stream* stream = nullptr;
    long after = 0;
};

static std::mutex lock;
static std::map<char*, size_t> on_gpu, page_locked;
static std::map<std::string, Result> failures;
static std::string calls;
static int made = 0;
static useconds_t slowness_us = 0;
static thread_local int depth = 0;

static bool within(const std::map<char*, size_t>& places, const void* from, size_t size)
{
    for (const auto& [start, length] : places)
        if (from >= start && (const char*)from + size <= start + length)
            return true;
    return false;
}

static Result entered(const char* name)
{
    calls += std::string(name) + ' ';
    const auto failure = failures.find(name);
    if (failure != failures.end()) {
        const Result status = failure->second;
        failures.erase(failure);
        return status;
    }
    return depth ? OK : INVALID_CONTEXT;
}

#define ENTER(name)                          \
    std::unique_lock<std::mutex> held(lock); \
    if (const Result status = entered(name)) \
        return status;

static void give(Stream* stream, Work work)
{
    if (stream->capturing) {
        stream->captured.push_back(work);
        return;
    }
    stream->waiting.push_back(work);
    ++stream->given;
}

// The work itself is done without the lock: it may be Python's, and other threads go on.
static void run_until(Stream* stream, long number)
{
    const std::lock_guard<std::mutex> in_order(stream->running);
    for (;;) {
        Work work;
        {
            const std::lock_guard<std::mutex> held(lock);
            if (stream->done >= number)
                return;
            work = stream->waiting.front();
            stream->waiting.pop_front();
            ++stream->done;
        }
        work();
    }
}

static Result allocate(std::map<char*, size_t>& places, void** address, size_t size)
{
    char* memory = (char*)malloc(size);
    memset(memory, 0xAA, size);
    places[memory] = size;
    *address = memory;
    return OK;
}

static Result release(std::map<char*, size_t>& places, void* address)
{
    if (!places.erase((char*)address))
        return INVALID_VALUE;
    free(address);
    return OK;
}

extern "C" {

Result cuInit(unsigned) { return failures.count("cuInit") ? failures["cuInit"] : OK; }
// NVRTC asks for tables of the driver that nobody documents, and does without.
Result cuGetExportTable(const void**, const void*) { return NOT_SUPPORTED; }
Result cuGetErrorString(Result status, const char** text)
{
    static thread_local std::string said;
    said = "error " + std::to_string(status);
    *text = said.c_str();
    return OK;
}
Result cuDriverGetVersion(int* version) { *version = 13000; return OK; }
Result cuDeviceGetCount(int* count) { *count = 1; return OK; }
Result cuDeviceGet(int* device, int) { *device = 0; return OK; }
Result cuDeviceGetName(char* name, int, int) { strcpy(name, "a double"); return OK; }
Result cuDeviceGetAttribute(int* value, int which, int)
{
    *value = which == 75 ? 8 : which == 76 ? 6 : 0;  // compute capability 8.6
    return OK;
}
Result cuDeviceComputeCapability(int* major, int* minor, int)
{
    *major = 8;
    *minor = 6;
    return OK;
}
Result cuDevicePrimaryCtxRetain(void** context, int) { *context = &made; return OK; }
Result cuDevicePrimaryCtxRelease_v2(int) { return OK; }
Result cuCtxPushCurrent_v2(void*) { ++depth; return OK; }
Result cuCtxPopCurrent_v2(void** context) { --depth; *context = &made; return OK; }

Result cuMemAlloc_v2(void** address, size_t size)
{
    ENTER("cuMemAlloc")
    return allocate(on_gpu, address, size);
}
Result cuMemFree_v2(void* address)
{
    ENTER("cuMemFree")
    return release(on_gpu, address);
}
Result cuMemHostAlloc(void** address, size_t size, unsigned)
{
    ENTER("cuMemHostAlloc")
    return allocate(page_locked, address, size);
}
Result cuMemFreeHost(void* address)
{
    ENTER("cuMemFreeHost")
    return release(page_locked, address);
}

Result cuStreamCreate(Stream** stream, unsigned flags)
{
    ENTER("cuStreamCreate")
    if (flags != 1)  // CU_STREAM_NON_BLOCKING
        return INVALID_VALUE;
    *stream = new Stream;
    ++made;
    return OK;
}
Result cuStreamDestroy_v2(Stream* stream)
{
    ENTER("cuStreamDestroy")
    delete stream;
    --made;
    return OK;
}
Result cuStreamSynchronize(Stream* stream)
{
    long all;
    {
        ENTER("cuStreamSynchronize")
        all = stream->given;
    }
    run_until(stream, all);
    return OK;
}

Result cuEventCreate(Event** event, unsigned flags)
{
    ENTER("cuEventCreate")
    if (flags != 3)  // CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING
        return INVALID_VALUE;
    *event = new Event;
    ++made;
    return OK;
}
Result cuEventDestroy_v2(Event* event)
{
    ENTER("cuEventDestroy")
    delete event;
    --made;
    return OK;
}
Result cuEventRecord(Event* event, Stream* stream)
{
    ENTER("cuEventRecord")
    *event = {stream, stream->given};
    return OK;
}
Result cuEventSynchronize(Event* event)
{
    Event recorded;
    {
        ENTER("cuEventSynchronize")
        recorded = *event;
    }
    usleep(slowness_us);
    if (recorded.stream)
        run_until(recorded.stream, recorded.after);
    return OK;
}

Result cuMemcpyHtoDAsync_v2(char* target, const char* source, size_t size, Stream* stream)
{
    ENTER("cuMemcpyHtoDAsync")
    if (!within(page_locked, source, size) || !within(on_gpu, target, size))
        return INVALID_VALUE;
    give(stream, [=] { memcpy(target, source, size); });
    return OK;
}
Result cuMemcpyDtoHAsync_v2(char* target, const char* source, size_t size, Stream* stream)
{
    ENTER("cuMemcpyDtoHAsync")
    if (!within(on_gpu, source, size) || !within(page_locked, target, size))
        return INVALID_VALUE;
    give(stream, [=] { memcpy(target, source, size); });
    return OK;
}

Result cuModuleLoadData(void** module, const char* image)
{
    ENTER("cuModuleLoadData")
    if (memcmp(image, "\177ELF", 4))
        return INVALID_VALUE;
    *module = &made;
    ++made;
    return OK;
}
Result cuModuleLoadDataEx(void** module, const char* image, unsigned, void*, void*)
{
    return cuModuleLoadData(module, image);
}
Result cuModuleUnload(void*)
{
    ENTER("cuModuleUnload")
    --made;
    return OK;
}
Result cuModuleGetFunction(void** function, void*, const char* name)
{
    ENTER("cuModuleGetFunction")
    if (strcmp(name, "letterbox"))
        return INVALID_VALUE;
    *function = (void*)run_letterbox;
    return OK;
}
Result cuFuncSetBlockShape(void*, int, int, int) { return OK; }
Result cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                      unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                      Stream* stream, void** parameters, void** extra)
{
    ENTER("cuLaunchKernel")
    if (function != (void*)run_letterbox || grid_z != 1 || block_z != 1 || shared)
        return INVALID_VALUE;
    // pycuda hands its parameters over in one buffer: CU_LAUNCH_PARAM_BUFFER_POINTER is first
    const Job job = *(const Job*)(parameters ? parameters[0] : extra[1]);
    give(stream, [=] {
        const unsigned grid[] = {grid_x, grid_y}, block[] = {block_x, block_y};
        run_letterbox(&job, grid, block);
    });
    return OK;
}

Result cuStreamBeginCapture_v2(Stream* stream, int mode)
{
    ENTER("cuStreamBeginCapture")
    if (mode != 1)  // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        return INVALID_VALUE;
    stream->capturing = true;
    stream->captured.clear();
    return OK;
}
Result cuStreamEndCapture(Stream* stream, void** graph)
{
    stream->capturing = false;
    *graph = nullptr;
    ENTER("cuStreamEndCapture")
    *graph = new std::vector<Work>(stream->captured);
    ++made;
    return OK;
}
Result cuGraphInstantiateWithFlags(void** executable, std::vector<Work>* graph, unsigned long long)
{
    ENTER("cuGraphInstantiate")
    *executable = new std::vector<Work>(*graph);
    ++made;
    return OK;
}
Result cuGraphLaunch(std::vector<Work>* executable, Stream* stream)
{
    ENTER("cuGraphLaunch")
    const std::vector<Work> work = *executable;
    give(stream, [=] {
        for (const Work& step : work)
            step();
    });
    return OK;
}
static Result destroy(std::vector<Work>* graph)
{
    delete graph;
    --made;
    return OK;
}
Result cuGraphDestroy(std::vector<Work>* graph)
{
    ENTER("cuGraphDestroy")
    return destroy(graph);
}
Result cuGraphExecDestroy(std::vector<Work>* graph)
{
    ENTER("cuGraphExecDestroy")
    return destroy(graph);
}

Result cuGetProcAddress_v2(const char* name, void** function, int, unsigned long long, int* found)
{
    static void* const here = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    const std::string base(name);
    *function = nullptr;
    for (const char* suffix : {"_v2", "WithFlags", ""})
        if (!*function)
            *function = dlsym(here, (base + suffix).c_str());
    if (found)
        *found = !*function;
    return OK;
}
Result cuGetProcAddress(const char* name, void** function, int version, unsigned long long flags)
{
    return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}

// For the tests themselves.

// How many things have been made and not freed.
int double_alive() { return made + (int)on_gpu.size() + (int)page_locked.size(); }

// Let the next call of a function fail.
void double_fail(const char* name, Result status) { failures[name] = status; }

// Let whoever waits for an event wait that long.
void double_slow_down(unsigned us) { slowness_us = us; }

// Return the names of the calls so far, and begin anew.
const char* double_calls()
{
    static std::string said;
    said.swap(calls);
    calls.clear();
    return said.c_str();
}

// Give a stream a function of the host to do, as TensorRT gives it kernels.
void double_give(Stream* stream, void (*function)())
{
    const std::lock_guard<std::mutex> held(lock);
    give(stream, function);
}
}
