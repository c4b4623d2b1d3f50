/* SPDX-License-Identifier: MIT
 * device.c - what a driver says about a device, and FLASHDEC_PRETEND, which narrows it for tests */
#include "device.h"
#include "mma.h"
#include "util.h"

#include <stdlib.h>
#include <string.h>

int device_list(struct device_id *out, int max)
{
    cl_platform_id platforms[32];
    cl_uint n_platforms = 0;
    int n = 0;
    if (clGetPlatformIDs(ARRAY_LEN(platforms), platforms, &n_platforms) != CL_SUCCESS)
        return 0;
    for (cl_uint p = 0; p < MIN(n_platforms, ARRAY_LEN(platforms)); p++) {
        cl_device_id devices[64];
        cl_uint n_devices = 0;
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, ARRAY_LEN(devices), devices, &n_devices) != CL_SUCCESS)
            continue;
        for (cl_uint d = 0; d < MIN(n_devices, ARRAY_LEN(devices)) && n < max; d++)
            out[n++] = (struct device_id){platforms[p], devices[d], (int) p, (int) d};
    }
    return n;
}

static fdec_status device_string(cl_device_id id, cl_device_info what, char *buf, size_t n)
{
    char text[1024] = "";
    const cl_int err = clGetDeviceInfo(id, what, sizeof text - 1, text, NULL);
    if (err)
        return fail_cl(err, "clGetDeviceInfo");
    snprintf(buf, n, "%.*s", (int) n - 1, text);
    for (size_t len = strlen(buf); len && buf[len - 1] == ' '; len--) /* some drivers pad */
        buf[len - 1] = 0;
    return FDEC_OK;
}

/* A dialect that the device has not is done by its stand-in, which any device can run. */
static bool pretend_matrix(struct device *d, long long dialect)
{
    if (dialect > MATRIX_WMMA_GFX12)
        return false;
    d->matrix_standin = dialect && dialect != d->matrix;
    d->matrix_f16 = d->matrix_standin || (dialect && d->matrix_f16);
    d->matrix = (int) dialect;
    return true;
}

/* One "key=value" of FLASHDEC_PRETEND. A device can only be made smaller; cpu_like is set either way. */
static bool pretend_one(struct device *d, const char *key, long long value)
{
    if (value < 0)
        return false;
    if (!strcmp(key, "max_wg"))
        d->max_wg = MIN(d->max_wg, (size_t) value);
    else if (!strcmp(key, "local"))
        d->local_bytes = MIN(d->local_bytes, (size_t) value);
    else if (!strcmp(key, "cu"))
        d->compute_units = (int) MIN((long long) d->compute_units, value);
    else if (!strcmp(key, "cpu_like"))
        d->cpu_like = value;
    else if (!strcmp(key, "max_alloc"))
        d->max_alloc_bytes = MIN(d->max_alloc_bytes, (uint64_t) value);
    else if (!strcmp(key, "prefetch"))
        d->prefetch = d->prefetch && value;
    else if (!strcmp(key, "optimise"))
        d->unoptimised = d->unoptimised || !value;
    else if (!strcmp(key, "fp64"))
        d->fp64 = d->fp64 && value;
    else if (!strcmp(key, "shuffle"))
        d->shuffle = value ? d->shuffle : 0;
    else if (!strcmp(key, "wave") && (value == 32 || value == 64))
        d->wave = (int) value;
    else if (!strcmp(key, "matrix"))
        return pretend_matrix(d, value);
    else if (!strcmp(key, "matrix_f16"))
        d->matrix_f16 = d->matrix_f16 && value;
    else
        return false;
    return true;
}

fdec_status device_pretend(struct device *d)
{
    const char *text = getenv("FLASHDEC_PRETEND");
    char key[32];
    for (int used = 0; text && *text; text += used) {
        long long value;
        if (sscanf(text, "%31[a-z_0-9]=%lld%n", key, &value, &used) != 2 || !pretend_one(d, key, value))
            return fail(FDEC_E_ARG,
                        "FLASHDEC_PRETEND: '%s' is none of max_wg= local= cu= cpu_like= max_alloc= prefetch= optimise= "
                        "fp64= shuffle= wave= matrix= matrix_f16=",
                        text);
        used += text[used] == ',';
    }
    for (int i = 0; i < 3; i++)
        d->max_items[i] = MIN(d->max_items[i], d->max_wg);
    return FDEC_OK;
}

fdec_status device_query(cl_platform_id platform, cl_device_id id, struct device *d)
{
    fdec_status st = FDEC_OK;
    *d = (struct device){0};
    cl_uint units = 0, lanes = 0, align_bits = 0;
    cl_ulong local = 0, global = 0, max_alloc = 0;
    cl_device_fp_config fp64 = 0;
    size_t items[16] = {0};
    char platform_text[512] = "";

    try_st(device_string(id, CL_DEVICE_NAME, d->name, sizeof d->name));
    try_st(device_string(id, CL_DEVICE_VENDOR, d->vendor, sizeof d->vendor));
    try_st(device_string(id, CL_DRIVER_VERSION, d->driver, sizeof d->driver));
    try_st(device_string(id, CL_DEVICE_VERSION, d->version, sizeof d->version));
    try_cl(clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof platform_text - 1, platform_text, NULL));
    snprintf(d->platform, sizeof d->platform, "%.127s", platform_text);
    try_cl(clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof platform_text - 1, platform_text, NULL));
    snprintf(d->platform_version, sizeof d->platform_version, "%.255s", platform_text);
    try_cl(clGetDeviceInfo(id, CL_DEVICE_VENDOR_ID, sizeof d->vendor_id, &d->vendor_id, NULL));
    try_cl(clGetDeviceInfo(id, CL_DEVICE_TYPE, sizeof d->type, &d->type, NULL));
    try_cl(clGetDeviceInfo(id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL));
    try_cl(clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof d->max_wg, &d->max_wg, NULL));
    try_cl(clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof items, items, NULL));
    try_cl(clGetDeviceInfo(id, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local, &local, NULL));
    try_cl(clGetDeviceInfo(id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof global, &global, NULL));
    try_cl(clGetDeviceInfo(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof max_alloc, &max_alloc, NULL));
    try_cl(clGetDeviceInfo(id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof align_bits, &align_bits, NULL));
    if (clGetDeviceInfo(id, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof fp64, &fp64, NULL))
        fp64 = 0; /* drivers without doubles may refuse the question */
    try_cl(clGetDeviceInfo(id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof lanes, &lanes, NULL));
    d->float_lanes = (int) lanes;
    d->compute_units = MAX((int) units, 1);
    d->local_bytes = (size_t) local;
    d->global_bytes = global;
    d->max_alloc_bytes = max_alloc;
    d->base_align_bytes = align_bits / 8;
    d->fp64 = fp64 != 0;
    memcpy(d->max_items, items, sizeof d->max_items);
out:
    return st;
}

fdec_status device_extensions(cl_device_id id, char **text)
{
    fdec_status st = FDEC_OK;
    size_t n = 0;
    try_cl(clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, 0, NULL, &n));
    *text = calloc(1, n + 1);
    try_alloc(*text);
    try_cl(clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, n, *text, NULL));
out:
    return st;
}

void device_defines(const struct device *d, char *buf, size_t n)
{
    snprintf(buf, n, " -DHAVE_PREFETCH=%d -DHAVE_FP64=%d", d->prefetch, d->fp64);
    if (d->backwards)
        append(buf, n, " -DBACKWARDS=1");
    if (d->shuffle)
        append(buf, n, " -DSHUFFLE=%d -DWAVE=%d", d->shuffle, d->wave);
    if (d->matrix)
        append(buf, n, " -DMATRIX=%d -DMATRIX_F16=%d%s", d->matrix, d->matrix_f16,
               d->matrix_standin ? " -DMATRIX_STANDIN=1" : "");
}
