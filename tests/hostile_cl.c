/* SPDX-License-Identifier: MIT
 * hostile_cl.c - a driver that misbehaves for marked candidates, preloaded before libOpenCL (tune_hostile.sh)
 *
 * A mark is an environment variable "ENTRY OPTION", for example HOSTILE_LOST="softmax_online -DVEC=4":
 *   HOSTILE_RESOURCES  the launch of kernel function ENTRY, built with OPTION, fails with CL_OUT_OF_RESOURCES
 *   HOSTILE_LOST       the same, and no buffer can be written afterwards
 *   HOSTILE_MEMORY     the launch takes and fills 64 GiB first
 *   HOSTILE_ABORT, HOSTILE_EXIT  the launch calls abort(), or exit(0)
 *   HOSTILE_LOG        (OPTION alone) the program does not build and has a log of 100 MB
 * All else goes to the driver. */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHIM __attribute__((visibility("default")))

static bool lost;
static cl_program failed; /* whose log is long */
static const size_t log_bytes = (size_t) 100 << 20, much = (size_t) 64 << 30;

/* function: a pointer to a pointer to the driver's function. */
static void find(void *function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(function, &found, sizeof found);
}

static bool has_option(const char *options, const char *option)
{
    char all[4096], one[128];
    snprintf(all, sizeof all, "%s ", options);
    snprintf(one, sizeof one, "%s ", option);
    return strstr(all, one) != NULL;
}

static bool is_marked(const char *mark, cl_kernel kernel)
{
    char name[64], options[4096], entry[64], option[64];
    cl_program program;
    cl_device_id device;
    const char *text = getenv(mark);
    return text && sscanf(text, "%63s %63s", entry, option) == 2 &&
           !clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL) && !strcmp(name, entry) &&
           !clGetKernelInfo(kernel, CL_KERNEL_PROGRAM, sizeof program, &program, NULL) &&
           !clGetProgramInfo(program, CL_PROGRAM_DEVICES, sizeof device, &device, NULL) &&
           !clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_OPTIONS, sizeof options, options, NULL) &&
           has_option(options, option);
}

/* False: it cannot be had. */
static bool take_much(void)
{
    char *all = malloc(much);
    if (all)
        memset(all, 1, much);
    free(all);
    return all != NULL;
}

SHIM cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dims, const size_t *offset,
                                   const size_t *global, const size_t *local, cl_uint n_wait, const cl_event *wait,
                                   cl_event *event)
{
    cl_int (*next)(cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint,
                   const cl_event *, cl_event *);
    find(&next, "clEnqueueNDRangeKernel");
    lost = lost || is_marked("HOSTILE_LOST", kernel);
    if (lost || is_marked("HOSTILE_RESOURCES", kernel))
        return CL_OUT_OF_RESOURCES;
    if (is_marked("HOSTILE_ABORT", kernel))
        abort();
    if (is_marked("HOSTILE_EXIT", kernel))
        exit(0);
    if (is_marked("HOSTILE_MEMORY", kernel) && !take_much())
        return CL_OUT_OF_HOST_MEMORY;
    return next(queue, kernel, dims, offset, global, local, n_wait, wait, event);
}

SHIM cl_int clEnqueueWriteBuffer(cl_command_queue queue, cl_mem mem, cl_bool blocking, size_t offset, size_t n,
                                 const void *data, cl_uint n_wait, const cl_event *wait, cl_event *event)
{
    cl_int (*next)(cl_command_queue, cl_mem, cl_bool, size_t, size_t, const void *, cl_uint, const cl_event *,
                   cl_event *);
    find(&next, "clEnqueueWriteBuffer");
    return lost ? CL_OUT_OF_RESOURCES : next(queue, mem, blocking, offset, n, data, n_wait, wait, event);
}

SHIM cl_int clBuildProgram(cl_program program, cl_uint n, const cl_device_id *devices, const char *options,
                           void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    cl_int (*next)(cl_program, cl_uint, const cl_device_id *, const char *, void(CL_CALLBACK *)(cl_program, void *),
                   void *);
    find(&next, "clBuildProgram");
    const char *option = getenv("HOSTILE_LOG");
    if (!option || !options || !has_option(options, option))
        return next(program, n, devices, options, notify, user);
    failed = program;
    return CL_BUILD_PROGRAM_FAILURE;
}

SHIM cl_int clGetProgramBuildInfo(cl_program program, cl_device_id device, cl_program_build_info what, size_t n,
                                  void *value, size_t *n_needed)
{
    cl_int (*next)(cl_program, cl_device_id, cl_program_build_info, size_t, void *, size_t *);
    find(&next, "clGetProgramBuildInfo");
    if (program != failed || what != CL_PROGRAM_BUILD_LOG)
        return next(program, device, what, n, value, n_needed);
    if (n_needed)
        *n_needed = log_bytes;
    if (value && n >= log_bytes)
        memset(value, 'w', log_bytes);
    return CL_SUCCESS;
}
