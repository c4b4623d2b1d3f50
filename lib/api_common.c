/* SPDX-License-Identifier: MIT
 * api_common.c - checks that every public call makes */
#include "plan.h"

#include <string.h>

fdec_status take_struct(const char *who, void *ours, size_t n, const void *theirs)
{
    size_t size = 0;
    if (!theirs)
        return fail(FDEC_E_ARG, "%s: params or args != NULL does not hold", who);
    memcpy(&size, theirs, sizeof size);
    if (size < sizeof size || size > 65536)
        return fail(FDEC_E_ARG, "%s: size is %zu; make the struct with its FDEC_..._INIT macro", who, size);
    const unsigned char *bytes = theirs;
    for (size_t i = n; i < size; i++)
        if (bytes[i])
            return fail(FDEC_E_ARG, "%s: a field that this version (%s) does not know is set", who, fdec_version());
    memset(ours, 0, n);
    memcpy(ours, theirs, size < n ? size : n);
    return FDEC_OK;
}

fdec_status check_buffer(const fdec_ctx *ctx, const char *who, const char *name, const fdec_buffer *b, uint64_t bytes,
                         size_t align, enum need need)
{
    size_t size = 0;
    cl_context context = NULL;
    if (!b->mem)
        return need == OPTIONAL ? FDEC_OK : fail(FDEC_E_ARG, "%s: %s.mem != NULL does not hold", who, name);
    if (clGetMemObjectInfo(b->mem, CL_MEM_SIZE, sizeof size, &size, NULL) ||
        clGetMemObjectInfo(b->mem, CL_MEM_CONTEXT, sizeof context, &context, NULL))
        return fail(FDEC_E_ARG, "%s: %s.mem is no memory object", who, name);
    if (context != ctx->context)
        return fail(FDEC_E_ARG, "%s: %s.mem belongs to another cl_context", who, name);
    if (b->offset_bytes % align)
        return fail(FDEC_E_ARG, "%s: %s.offset_bytes = %zu is no multiple of its element size %zu", who, name,
                    b->offset_bytes, align);
    if (b->offset_bytes > size || bytes > size - b->offset_bytes)
        return fail(FDEC_E_ARG, "%s: %s needs %llu bytes at offset %zu, its buffer has %zu", who, name,
                    (unsigned long long) bytes, b->offset_bytes, size);
    return FDEC_OK;
}

fdec_status check_queue(const fdec_ctx *ctx, const char *who, cl_command_queue queue, cl_uint n_wait,
                        const cl_event *wait)
{
    cl_context context = NULL;
    cl_device_id device = NULL;
    if (!queue)
        return fail(FDEC_E_ARG, "%s: queue != NULL does not hold", who);
    if (!n_wait != !wait)
        return fail(FDEC_E_ARG, "%s: (n_wait == 0) == (wait == NULL) does not hold", who);
    if (clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof context, &context, NULL) ||
        clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof device, &device, NULL))
        return fail(FDEC_E_ARG, "%s: queue is no command queue", who);
    if (context != ctx->context || device != ctx->device_id)
        return fail(FDEC_E_ARG, "%s: queue belongs to another context or device", who);
    return FDEC_OK;
}

void bind_buffer(struct binding *b, int i, const fdec_buffer *buffer)
{
    b->mem[i] = buffer->mem;
    b->offset[i] = buffer->mem ? buffer->offset_bytes : 0;
}
