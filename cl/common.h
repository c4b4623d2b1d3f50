/* SPDX-License-Identifier: MIT
 * common.h - what the host compiler and the device compiler must agree on, and what every .cl file uses
 *
 * Arguments of a kernel are never a struct: OpenCL leaves its layout undefined. Each operation lists its buffers and
 * its scalars once, NAME_BUFFERS(X) and NAME_SCALARS(X) in NAME.h, and both sides expand the lists. Every __kernel
 * function of an operation takes the whole list, so that one binding serves all its launches:
 *
 *     kernel void f(NAME_BUFFERS(BUFFER_PARAM) NAME_SCALARS(SCALAR_PARAM) int unused)
 *     {
 *         NAME_BUFFERS(BUFFER_BEGIN)          // q_mem + q_bytes -> q, typed
 *         if (HAS(bias)) ...                  // an optional buffer that was given
 *
 * A buffer is a base and a byte offset: model files align tensors to 32 bytes, sub-buffers need more. Scalars are i32,
 * i64, u64 or f32, the 8-byte ones first, so that the host's struct has no holes. */
#ifndef COMMON_H
#define COMMON_H

#define SCALAR_MEMBER(type, name) type name;
#define SCALAR_BYTES(type, name)  sizeof(type),

#ifndef __OPENCL_VERSION__
#include <stdint.h>
typedef int32_t i32;
typedef int64_t i64;
typedef uint64_t u64;
typedef float f32;
#else
typedef int i32;
typedef long i64;
typedef ulong u64;
typedef float f32;

#define BUFFER_PARAM(type, name) global type *name##_mem, u64 name##_bytes,
#define BUFFER_BEGIN(type, name) global type *name = (global type *) ((global const uchar *) name##_mem + name##_bytes);
#define HAS(name)                (name##_mem != 0)
/* Or all arguments in a private struct, for functions that need many: NAME_BUFFERS(BUFFER_FIELD) declares its members,
 * NAME_BUFFERS(BUFFER_KEEP) NAME_SCALARS(SCALAR_KEEP) fill one called a. It dissolves when all is inlined. */
#define BUFFER_FIELD(type, name) global type *name;
#define BUFFER_KEEP(type, name) \
    a.name = name##_mem ? (global type *) ((global const uchar *) name##_mem + name##_bytes) : 0;
#define SCALAR_KEEP(type, name)  a.name = name;
#define SCALAR_PARAM(type, name) type name,

/* PoCL 3.1 shares a kernel's local array among work-groups where a pointer to it reaches a function that is not
 * inlined, and passes large structs by slow copies where it does not inline. */
#define INLINE static __attribute__((always_inline))

/* For what names a lane of the hardware. */
INLINE int hardware_item(void)
{
    return get_local_id(0);
}

/* The tuner's check runs kernels with the items of each group numbered backwards, too: where a barrier is missing, CPU
 * drivers often hide it by the order in which they run items. */
#ifdef BACKWARDS
INLINE size_t item_backwards(uint d)
{
    return get_local_size(d) - 1 - get_local_id(d);
}
#define get_local_id(d)  item_backwards(d)
#define get_global_id(d) (get_group_id(d) * get_local_size(d) + item_backwards(d))
#endif

#define PASTE_(a, b) a##b
#define PASTE(a, b)  PASTE_(a, b)
#endif
#endif
