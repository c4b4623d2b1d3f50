/* SPDX-License-Identifier: MIT
 * device.h - facts about one device, asked once
 *
 * Capabilities are found by compiling and running small kernels, never by name. */
#ifndef DEVICE_H
#define DEVICE_H
#include "flashdec.h"
#include <stdbool.h>

struct device {
    /* what the driver says */
    char name[128], vendor[128], driver[128], platform[128];
    char version[128], platform_version[256]; /* CL_DEVICE_VERSION, CL_PLATFORM_VERSION */
    uint32_t vendor_id;
    cl_device_type type;
    int compute_units;
    int float_lanes;          /* CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT: of a CPU's vector register; a GPU says 1 */
    size_t max_wg;            /* work-items in a group */
    size_t max_items[3];      /* of a group, per dimension */
    size_t local_bytes;
    uint64_t global_bytes, max_alloc_bytes;
    size_t base_align_bytes;

    /* what probes found (device_probe) */
    bool cpu_like;      /* one work-item with wide vectors beats a work-group: kernels for CPUs. False: GPU-like */
    bool fp16_storage;  /* vload_half and vstore_half give the right values */
    bool prefetch;      /* __builtin_prefetch compiles and runs */
    bool unoptimised;   /* compilers are told not to optimise: in tests of kernels that are not for this device */
    bool fp64;
    int shuffle; /* how items reach each other's registers (cl/shuffle.h); 0: they do not */
    int wave;    /* size of sub-groups that kernels ask for, 32 or 64, where that is by sub-groups */
    int matrix;          /* dialect of its matrix unit (cl/mma.h), 0: none */
    bool matrix_f16;     /* whose f16 products are exact, of subnormals too; bf16 ones are */
    bool matrix_standin; /* pretended: kernels take the dialect's stand-in */

    bool backwards; /* for the tuner's check alone: items of a group are numbered from its end (cl/common.h) */

    /* what a measured table says; 0: unknown */
    double read_gbps, launch_us;
};

/* Everything the driver says. FLASHDEC_PRETEND="max_wg=64,local=16384,cpu_like=0,..." narrows it, for tests. */
fdec_status device_query(cl_platform_id platform, cl_device_id id, struct device *d);

/* Applies FLASHDEC_PRETEND; after the probes. FDEC_E_ARG: a word it does not know. */
fdec_status device_pretend(struct device *d);

/* What the driver lists as extensions, malloc'ed: probes ask a compiler only what its platform claims to know. */
fdec_status device_extensions(cl_device_id id, char **text);

/* -D list of the probed capabilities, the same for every program: " -DHAVE_PREFETCH=1 ...". buf of 256 bytes. */
void device_defines(const struct device *d, char *buf, size_t n);

/* Devices of all platforms in the order of clinfo -l, at most max. Returns how many. */
struct device_id {
    cl_platform_id platform;
    cl_device_id device;
    int platform_index, device_index;
};
int device_list(struct device_id *out, int max);
#endif
