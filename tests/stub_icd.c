/* SPDX-License-Identifier: MIT
 * stub_icd.c - an OpenCL driver that computes nothing, counts references, and fails when it is told to
 *
 * One platform, one CPU device, OpenCL 1.2. Programs "build", kernels do nothing, except that the library's probe
 * ("facts") gets its answers. Of a buffer only the first STORED bytes exist. The N-th call that can fail does so,
 * with an error that this call may give by the specification and without any effect: FLASHDEC_STUB_FAIL=N in the
 * environment, counted from the loading of the driver, or struct stub_control from within. What is still alive at
 * exit is told on standard error. For one thread. Calls that the library does not make are not there: the process ends
 * and says which (stub_refused.h); add them when the library does. */
#include "stub_object.h"
#include "stub_refused.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char BINARY[] = "a program of the stub driver";

/* ---- platform, device, context ---- */

static cl_int CL_API_CALL clIcdGetPlatformIDs(cl_uint n, cl_platform_id *out, cl_uint *n_out)
{
    if (n_out)
        *n_out = 1;
    if (out && n)
        out[0] = (cl_platform_id) (void *) &stub_platform;
    return CL_SUCCESS;
}

cl_int CL_API_CALL clGetPlatformInfo(cl_platform_id id, cl_platform_info question, size_t size, void *value,
                                     size_t *size_ret)
{
    MAY_FAIL_ASKED(question, CL_OUT_OF_HOST_MEMORY);
    if (!check(id, PLATFORM))
        return CL_INVALID_PLATFORM;
    switch (question) {
    case CL_PLATFORM_NAME: ANSWER_TEXT("flashdec stub");
    case CL_PLATFORM_VENDOR: ANSWER_TEXT("flashdec tests");
    case CL_PLATFORM_VERSION: ANSWER_TEXT("OpenCL 1.2 stub");
    case CL_PLATFORM_PROFILE: ANSWER_TEXT("FULL_PROFILE");
    case CL_PLATFORM_EXTENSIONS: ANSWER_TEXT("cl_khr_icd");
    case CL_PLATFORM_ICD_SUFFIX_KHR: ANSWER_TEXT("STUB");
    }
    return CL_INVALID_VALUE;
}

cl_int CL_API_CALL clGetDeviceIDs(cl_platform_id id, cl_device_type type, cl_uint n, cl_device_id *out, cl_uint *n_out)
{
    MAY_FAIL(CL_OUT_OF_RESOURCES);
    if (!check(id, PLATFORM))
        return CL_INVALID_PLATFORM;
    if (!(type & (CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_DEFAULT)))
        return CL_DEVICE_NOT_FOUND;
    if (n_out)
        *n_out = 1;
    if (out && n)
        out[0] = (cl_device_id) (void *) &stub_device;
    return CL_SUCCESS;
}

cl_int CL_API_CALL clGetDeviceInfo(cl_device_id id, cl_device_info question, size_t size, void *value, size_t *size_ret)
{
    static const size_t items[3] = {256, 256, 256};
    MAY_FAIL_ASKED(question, CL_OUT_OF_RESOURCES);
    if (!check(id, DEVICE))
        return CL_INVALID_DEVICE;
    switch (question) {
    case CL_DEVICE_NAME: ANSWER_TEXT("stub device");
    case CL_DEVICE_VENDOR: ANSWER_TEXT("flashdec tests");
    case CL_DRIVER_VERSION: ANSWER_TEXT("1");
    case CL_DEVICE_VERSION: ANSWER_TEXT("OpenCL 1.2 stub");
    case CL_DEVICE_OPENCL_C_VERSION: ANSWER_TEXT("OpenCL C 1.2");
    case CL_DEVICE_EXTENSIONS: ANSWER_TEXT("");
    case CL_DEVICE_PLATFORM: ANSWER(cl_platform_id, (void *) &stub_platform);
    case CL_DEVICE_VENDOR_ID: ANSWER(cl_uint, 0xf1a5);
    case CL_DEVICE_TYPE: ANSWER(cl_device_type, CL_DEVICE_TYPE_CPU);
    case CL_DEVICE_MAX_COMPUTE_UNITS: ANSWER(cl_uint, 4);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE: ANSWER(size_t, 256);
    case CL_DEVICE_MAX_WORK_ITEM_SIZES: return answer(items, sizeof items, size, value, size_ret);
    case CL_DEVICE_LOCAL_MEM_SIZE: ANSWER(cl_ulong, 32768);
    case CL_DEVICE_GLOBAL_MEM_SIZE: ANSWER(cl_ulong, 1 << 30);
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE: ANSWER(cl_ulong, 1 << 28);
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN: ANSWER(cl_uint, 1024);
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT: ANSWER(cl_uint, 8);
    case CL_DEVICE_DOUBLE_FP_CONFIG: ANSWER(cl_device_fp_config, CL_FP_FMA);
    }
    return CL_INVALID_VALUE;
}

cl_int CL_API_CALL clRetainDevice(cl_device_id id)
{
    MAY_FAIL(CL_OUT_OF_HOST_MEMORY);
    return check(id, DEVICE) ? CL_SUCCESS : CL_INVALID_DEVICE; /* a root device is not counted */
}

cl_int CL_API_CALL clReleaseDevice(cl_device_id id)
{
    note(__func__);
    return check(id, DEVICE) ? CL_SUCCESS : CL_INVALID_DEVICE;
}

cl_context CL_API_CALL clCreateContext(const cl_context_properties *properties, cl_uint n, const cl_device_id *devices,
                                       void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *),
                                       void *user, cl_int *err)
{
    (void) properties, (void) notify, (void) user;
    MAY_FAIL_TO_CREATE(CL_OUT_OF_HOST_MEMORY);
    if (n != 1 || !check(devices[0], DEVICE))
        return created(NULL, CL_INVALID_DEVICE, err);
    return created(make(CONTEXT, NULL), CL_OUT_OF_HOST_MEMORY, err);
}

cl_int CL_API_CALL clRetainContext(cl_context context)
{
    MAY_FAIL(CL_OUT_OF_HOST_MEMORY);
    return retain(context, CONTEXT, CL_INVALID_CONTEXT);
}

cl_int CL_API_CALL clReleaseContext(cl_context context)
{
    return release(__func__, context, CONTEXT, CL_INVALID_CONTEXT);
}

cl_int CL_API_CALL clGetContextInfo(cl_context context, cl_context_info question, size_t size, void *value,
                                    size_t *size_ret)
{
    MAY_FAIL_ASKED(question, CL_OUT_OF_HOST_MEMORY);
    if (!check(context, CONTEXT))
        return CL_INVALID_CONTEXT;
    if (question == CL_CONTEXT_DEVICES)
        ANSWER(cl_device_id, (void *) &stub_device);
    return CL_INVALID_VALUE;
}

/* ---- queues, buffers ---- */

cl_command_queue CL_API_CALL clCreateCommandQueue(cl_context context, cl_device_id id,
                                                  cl_command_queue_properties properties, cl_int *err)
{
    (void) properties;
    MAY_FAIL_TO_CREATE(CL_OUT_OF_RESOURCES);
    if (!check(context, CONTEXT) || !check(id, DEVICE))
        return created(NULL, CL_INVALID_CONTEXT, err);
    return created(make(QUEUE, context), CL_OUT_OF_HOST_MEMORY, err);
}

cl_int CL_API_CALL clReleaseCommandQueue(cl_command_queue queue)
{
    return release(__func__, queue, QUEUE, CL_INVALID_COMMAND_QUEUE);
}

cl_int CL_API_CALL clGetCommandQueueInfo(cl_command_queue queue, cl_command_queue_info question, size_t size,
                                         void *value, size_t *size_ret)
{
    MAY_FAIL_ASKED(question, CL_OUT_OF_RESOURCES);
    const struct object *o = check(queue, QUEUE);
    if (!o)
        return CL_INVALID_COMMAND_QUEUE;
    switch (question) {
    case CL_QUEUE_CONTEXT: ANSWER(cl_context, o->context);
    case CL_QUEUE_DEVICE: ANSWER(cl_device_id, (void *) &stub_device);
    }
    return CL_INVALID_VALUE;
}

cl_mem CL_API_CALL clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *data, cl_int *err)
{
    MAY_FAIL_TO_CREATE(CL_MEM_OBJECT_ALLOCATION_FAILURE);
    if (!check(context, CONTEXT))
        return created(NULL, CL_INVALID_CONTEXT, err);
    if (!size || !(flags & CL_MEM_COPY_HOST_PTR) != !data)
        return created(NULL, size ? CL_INVALID_HOST_PTR : CL_INVALID_BUFFER_SIZE, err);
    struct object *o = make(MEM, context);
    if (o) {
        o->size = size;
        if (data)
            memcpy(o->bytes, data, size < STORED ? size : STORED);
    }
    return created(o, CL_OUT_OF_HOST_MEMORY, err);
}

cl_int CL_API_CALL clReleaseMemObject(cl_mem mem)
{
    return release(__func__, mem, MEM, CL_INVALID_MEM_OBJECT);
}

cl_int CL_API_CALL clGetMemObjectInfo(cl_mem mem, cl_mem_info question, size_t size, void *value, size_t *size_ret)
{
    MAY_FAIL_ASKED(question, CL_OUT_OF_RESOURCES);
    const struct object *o = check(mem, MEM);
    if (!o)
        return CL_INVALID_MEM_OBJECT;
    switch (question) {
    case CL_MEM_SIZE: ANSWER(size_t, o->size);
    case CL_MEM_CONTEXT: ANSWER(cl_context, o->context);
    }
    return CL_INVALID_VALUE;
}

/* ---- programs, kernels ---- */

cl_program CL_API_CALL clCreateProgramWithSource(cl_context context, cl_uint n, const char **texts,
                                                 const size_t *lengths, cl_int *err)
{
    (void) lengths;
    MAY_FAIL_TO_CREATE(CL_OUT_OF_HOST_MEMORY);
    if (!check(context, CONTEXT) || !n || !texts)
        return created(NULL, CL_INVALID_VALUE, err);
    return created(make(PROGRAM, context), CL_OUT_OF_HOST_MEMORY, err);
}

cl_program CL_API_CALL clCreateProgramWithBinary(cl_context context, cl_uint n, const cl_device_id *devices,
                                                 const size_t *lengths, const unsigned char **binaries, cl_int *status,
                                                 cl_int *err)
{
    MAY_FAIL_TO_CREATE(CL_INVALID_BINARY);
    const bool good = check(context, CONTEXT) && n == 1 && check(devices[0], DEVICE) && lengths[0] == sizeof BINARY &&
                      !memcmp(binaries[0], BINARY, sizeof BINARY);
    if (status)
        *status = good ? CL_SUCCESS : CL_INVALID_BINARY;
    return created(good ? make(PROGRAM, context) : NULL, CL_INVALID_BINARY, err);
}

cl_int CL_API_CALL clRetainProgram(cl_program program)
{
    MAY_FAIL(CL_OUT_OF_HOST_MEMORY);
    return retain(program, PROGRAM, CL_INVALID_PROGRAM);
}

cl_int CL_API_CALL clReleaseProgram(cl_program program)
{
    return release(__func__, program, PROGRAM, CL_INVALID_PROGRAM);
}

cl_int CL_API_CALL clBuildProgram(cl_program program, cl_uint n, const cl_device_id *devices, const char *options,
                                  void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    (void) n, (void) devices, (void) options, (void) notify, (void) user;
    MAY_FAIL(CL_BUILD_PROGRAM_FAILURE);
    struct object *o = check(program, PROGRAM);
    if (!o)
        return CL_INVALID_PROGRAM;
    o->built = true;
    return CL_SUCCESS;
}

cl_int CL_API_CALL clGetProgramBuildInfo(cl_program program, cl_device_id id, cl_program_build_info question,
                                         size_t size, void *value, size_t *size_ret)
{
    MAY_FAIL_ASKED(question, CL_OUT_OF_HOST_MEMORY);
    if (!check(program, PROGRAM) || !check(id, DEVICE))
        return CL_INVALID_PROGRAM;
    if (question == CL_PROGRAM_BUILD_LOG)
        ANSWER_TEXT("the stub was told to fail");
    return CL_INVALID_VALUE;
}

cl_int CL_API_CALL clGetProgramInfo(cl_program program, cl_program_info question, size_t size, void *value,
                                    size_t *size_ret)
{
    MAY_FAIL_ASKED(question, CL_OUT_OF_HOST_MEMORY);
    const struct object *o = check(program, PROGRAM);
    if (!o)
        return CL_INVALID_PROGRAM;
    switch (question) {
    case CL_PROGRAM_NUM_DEVICES: ANSWER(cl_uint, 1);
    case CL_PROGRAM_DEVICES: ANSWER(cl_device_id, (void *) &stub_device);
    case CL_PROGRAM_BINARY_SIZES: ANSWER(size_t, o->built ? sizeof BINARY : 0);
    case CL_PROGRAM_BINARIES:
        if (!o->built || size < sizeof(void *))
            return CL_INVALID_VALUE;
        if (*(unsigned char **) value)
            memcpy(*(unsigned char **) value, BINARY, sizeof BINARY);
        return CL_SUCCESS;
    }
    return CL_INVALID_VALUE;
}

cl_kernel CL_API_CALL clCreateKernel(cl_program program, const char *name, cl_int *err)
{
    MAY_FAIL_TO_CREATE(CL_OUT_OF_RESOURCES);
    const struct object *p = check(program, PROGRAM);
    if (!p || !p->built)
        return created(NULL, CL_INVALID_PROGRAM_EXECUTABLE, err);
    struct object *o = make(KERNEL, p->context);
    if (o)
        snprintf(o->name, sizeof o->name, "%s", name);
    return created(o, CL_OUT_OF_HOST_MEMORY, err);
}

cl_int CL_API_CALL clReleaseKernel(cl_kernel kernel)
{
    return release(__func__, kernel, KERNEL, CL_INVALID_KERNEL);
}

cl_int CL_API_CALL clSetKernelArg(cl_kernel kernel, cl_uint i, size_t size, const void *value)
{
    MAY_FAIL(CL_OUT_OF_RESOURCES);
    struct object *o = check(kernel, KERNEL);
    if (!o)
        return CL_INVALID_KERNEL;
    if (i == 0)
        o->out = value && size == sizeof o->out ? *(const cl_mem *) value : NULL;
    return CL_SUCCESS;
}

/* ---- work ---- */

/* Everything is done at once; an event is an object and no more. */
static cl_int enqueue(cl_command_queue queue, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    if (!check(queue, QUEUE))
        return CL_INVALID_COMMAND_QUEUE;
    if (!n_wait != !wait)
        return CL_INVALID_EVENT_WAIT_LIST;
    for (cl_uint i = 0; i < n_wait; i++)
        if (!check(wait[i], EVENT))
            return CL_INVALID_EVENT_WAIT_LIST;
    if (!event)
        return CL_SUCCESS;
    *event = (cl_event) (void *) make(EVENT, NULL);
    return *event ? CL_SUCCESS : CL_OUT_OF_HOST_MEMORY;
}

cl_int CL_API_CALL clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
                                          const size_t *global, const size_t *local, cl_uint n_wait,
                                          const cl_event *wait, cl_event *event)
{
    static const cl_int facts[3] = {1, 0, 1}; /* of lib/probe.cl: ran at all, prefetch, 16-bit storage */
    (void) offset;
    MAY_FAIL(CL_OUT_OF_RESOURCES);
    const struct object *o = check(kernel, KERNEL);
    if (!o)
        return CL_INVALID_KERNEL;
    for (cl_uint i = 0; i < dims; i++)
        if (!global[i] || (local && (!local[i] || global[i] % local[i])))
            return CL_INVALID_WORK_GROUP_SIZE;
    if (!strcmp(o->name, "facts")) {
        struct object *out = check(o->out, MEM);
        if (!out)
            return CL_INVALID_KERNEL_ARGS;
        memcpy(out->bytes, facts, sizeof facts);
    }
    return enqueue(queue, n_wait, wait, event);
}

static cl_int transfer(cl_mem mem, size_t offset, size_t n, void *to, const void *from)
{
    struct object *o = check(mem, MEM);
    if (!o || offset > o->size || n > o->size - offset)
        return o ? CL_INVALID_VALUE : CL_INVALID_MEM_OBJECT;
    const size_t room = offset < STORED ? STORED - offset : 0, stored = n < room ? n : room;
    if (to) {
        memset(to, 0, n);
        memcpy(to, o->bytes + offset, stored);
    } else if (from) {
        memcpy(o->bytes + offset, from, stored);
    }
    return to || from ? CL_SUCCESS : CL_INVALID_VALUE;
}

cl_int CL_API_CALL clEnqueueReadBuffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset, size_t n,
                                       void *to, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    (void) blocking;
    MAY_FAIL(CL_OUT_OF_RESOURCES);
    const cl_int err = transfer(mem, offset, n, to, NULL);
    return err ? err : enqueue(queue, n_wait, wait, event);
}

cl_int CL_API_CALL clEnqueueWriteBuffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset, size_t n,
                                        const void *from, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    (void) blocking;
    MAY_FAIL(CL_OUT_OF_RESOURCES);
    const cl_int err = transfer(mem, offset, n, NULL, from);
    return err ? err : enqueue(queue, n_wait, wait, event);
}

cl_int CL_API_CALL clFinish(cl_command_queue queue)
{
    MAY_FAIL(CL_OUT_OF_RESOURCES);
    return check(queue, QUEUE) ? CL_SUCCESS : CL_INVALID_COMMAND_QUEUE;
}

cl_int CL_API_CALL clReleaseEvent(cl_event event)
{
    return release(__func__, event, EVENT, CL_INVALID_EVENT);
}

/* ---- what the loader asks for ---- */

__attribute__((noreturn)) static void refuse(const char *call)
{
    note(call);
    fprintf(stderr, "stub_icd: %s is not one of the calls that flashdec makes\n", call);
    abort();
}

static void *address_of(const char *name)
{
    /* ISO C has no way from a function's address to void *; POSIX promises that they fit */
    union {
        void *address;
        cl_api_clGetPlatformIDs platforms;
        cl_api_clGetPlatformInfo info;
        stub_control_fn *control;
    } f = {NULL};
    if (!strcmp(name, "clIcdGetPlatformIDsKHR"))
        f.platforms = clIcdGetPlatformIDs;
    else if (!strcmp(name, "clGetPlatformInfo"))
        f.info = clGetPlatformInfo;
    else if (!strcmp(name, "stub_control"))
        f.control = stub_control;
    return f.address;
}

/* The one name that this library shows. */
__attribute__((visibility("default"))) void *CL_API_CALL clGetExtensionFunctionAddress(const char *name)
{
    return address_of(name);
}

void *CL_API_CALL clGetExtensionFunctionAddressForPlatform(cl_platform_id id, const char *name)
{
    return check(id, PLATFORM) ? address_of(name) : NULL;
}

#define REFUSE(call)                                                                                                   \
    static void refuse_##call(void)                                                                                    \
    {                                                                                                                  \
        refuse(#call);                                                                                                 \
    }
REFUSED(REFUSE)

/* It never returns: the types need not agree. */
#define AND_REFUSED(call) , .call = (cl_api_##call) refuse_##call

const cl_icd_dispatch stub_dispatch = {
    .clGetPlatformIDs = clIcdGetPlatformIDs,
    .clGetPlatformInfo = clGetPlatformInfo,
    .clGetDeviceIDs = clGetDeviceIDs,
    .clGetDeviceInfo = clGetDeviceInfo,
    .clRetainDevice = clRetainDevice,
    .clReleaseDevice = clReleaseDevice,
    .clCreateContext = clCreateContext,
    .clRetainContext = clRetainContext,
    .clReleaseContext = clReleaseContext,
    .clGetContextInfo = clGetContextInfo,
    .clCreateCommandQueue = clCreateCommandQueue,
    .clReleaseCommandQueue = clReleaseCommandQueue,
    .clGetCommandQueueInfo = clGetCommandQueueInfo,
    .clCreateBuffer = clCreateBuffer,
    .clReleaseMemObject = clReleaseMemObject,
    .clGetMemObjectInfo = clGetMemObjectInfo,
    .clCreateProgramWithSource = clCreateProgramWithSource,
    .clCreateProgramWithBinary = clCreateProgramWithBinary,
    .clRetainProgram = clRetainProgram,
    .clReleaseProgram = clReleaseProgram,
    .clBuildProgram = clBuildProgram,
    .clGetProgramBuildInfo = clGetProgramBuildInfo,
    .clGetProgramInfo = clGetProgramInfo,
    .clCreateKernel = clCreateKernel,
    .clReleaseKernel = clReleaseKernel,
    .clSetKernelArg = clSetKernelArg,
    .clEnqueueNDRangeKernel = clEnqueueNDRangeKernel,
    .clEnqueueReadBuffer = clEnqueueReadBuffer,
    .clEnqueueWriteBuffer = clEnqueueWriteBuffer,
    .clFinish = clFinish,
    .clReleaseEvent = clReleaseEvent,
    .clGetExtensionFunctionAddressForPlatform = clGetExtensionFunctionAddressForPlatform REFUSED(AND_REFUSED),
};
