/* SPDX-License-Identifier: MIT
 * pick.c - a device by index, name, PCI address or UUID; never another one instead */
#define _GNU_SOURCE
#include "device.h"
#include "util.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEVICES = 64 };

/* Of cl_khr_device_uuid, cl_khr_pci_bus_info, and the vendors' older questions; cl_ext.h has them only in late
 * versions. */
enum {
    ASK_UUID_KHR = 0x106A,
    ASK_PCI_KHR = 0x410F,
    ASK_PCI_BUS_NV = 0x4008,
    ASK_PCI_SLOT_NV = 0x4009,
    ASK_PCI_DOMAIN_NV = 0x400A,
    ASK_TOPOLOGY_AMD = 0x4037
};

static bool pci_address(cl_device_id id, char *buf, size_t n)
{
    struct {
        cl_uint domain, bus, device, function;
    } khr;
    cl_uint bus, slot, domain = 0;
    struct {
        cl_uint type;
        cl_char unused[17], bus, device, function;
    } amd;
    if (!clGetDeviceInfo(id, ASK_PCI_KHR, sizeof khr, &khr, NULL)) {
        snprintf(buf, n, "%04x:%02x:%02x.%x", khr.domain, khr.bus, khr.device, khr.function);
    } else if (!clGetDeviceInfo(id, ASK_PCI_BUS_NV, sizeof bus, &bus, NULL) &&
               !clGetDeviceInfo(id, ASK_PCI_SLOT_NV, sizeof slot, &slot, NULL)) {
        if (clGetDeviceInfo(id, ASK_PCI_DOMAIN_NV, sizeof domain, &domain, NULL))
            domain = 0;
        snprintf(buf, n, "%04x:%02x:%02x.%x", domain, bus, slot >> 3, slot & 7);
    } else if (!clGetDeviceInfo(id, ASK_TOPOLOGY_AMD, sizeof amd, &amd, NULL)) {
        snprintf(buf, n, "0000:%02x:%02x.%x", (unsigned char) amd.bus, (unsigned char) amd.device,
                 (unsigned char) amd.function);
    } else {
        return false;
    }
    return true;
}

static bool uuid_text(cl_device_id id, char *buf, size_t n)
{
    unsigned char uuid[16];
    if (clGetDeviceInfo(id, ASK_UUID_KHR, sizeof uuid, uuid, NULL))
        return false;
    *buf = 0;
    for (size_t i = 0; i < sizeof uuid; i++)
        append(buf, n, "%02x", uuid[i]);
    return true;
}

/* Hex digits of a UUID as people write it, without dashes and capitals. */
static void normalise_uuid(const char *text, char *out, size_t n)
{
    size_t used = 0;
    for (; *text && used + 1 < n; text++)
        if (*text != '-')
            out[used++] = (char) tolower((unsigned char) *text);
    out[used] = 0;
}

static bool name_matches(const struct device_id *d, const char *which)
{
    char name[256] = "", platform[256] = "";
    clGetDeviceInfo(d->device, CL_DEVICE_NAME, sizeof name - 1, name, NULL);
    clGetPlatformInfo(d->platform, CL_PLATFORM_NAME, sizeof platform - 1, platform, NULL);
    return strcasestr(name, which) || strcasestr(platform, which);
}

static bool matches(const struct device_id *d, int index, const char *which)
{
    char text[80], want[80], rest;
    int a, b;
    if (!strncasecmp(which, "pci:", 4))
        return pci_address(d->device, text, sizeof text) && !strcasecmp(text, which + 4);
    if (!strncasecmp(which, "uuid:", 5)) {
        normalise_uuid(which + 5, want, sizeof want);
        return uuid_text(d->device, text, sizeof text) && !strcmp(text, want);
    }
    if (sscanf(which, "%d:%d%c", &a, &b, &rest) == 2)
        return a == d->platform_index && b == d->device_index;
    if (sscanf(which, "%d%c", &a, &rest) == 1)
        return a == index;
    return name_matches(d, which);
}

static int first_gpu(const struct device_id *devices, int n)
{
    for (int i = 0; i < n; i++) {
        cl_device_type type = 0;
        if (!clGetDeviceInfo(devices[i].device, CL_DEVICE_TYPE, sizeof type, &type, NULL) &&
            (type & CL_DEVICE_TYPE_GPU))
            return i;
    }
    return 0;
}

fdec_status fdec_device_pick(const char *which, cl_platform_id *platform, cl_device_id *device)
{
    fdec_status st = FDEC_OK;
    struct device_id devices[MAX_DEVICES];
    require("fdec_device_pick", platform != NULL && device != NULL);
    const int n = device_list(devices, MAX_DEVICES);
    if (!n)
        return fail(FDEC_E_DEVICE,
                    "there is no OpenCL device: no driver is installed (clinfo -l shows what the loader finds)");

    if (!which)
        which = getenv("FLASHDEC_DEVICE");
    int found = -1, n_found = 0;
    for (int i = 0; which && *which && i < n; i++)
        if (matches(&devices[i], i, which)) {
            found = i;
            n_found++;
        }
    if (!which || !*which)
        found = first_gpu(devices, n);
    else if (!n_found)
        return fail(FDEC_E_DEVICE, "no OpenCL device '%s' among the %d there are (clinfo -l lists them)", which, n);
    else if (n_found > 1)
        return fail(FDEC_E_DEVICE, "'%s' fits %d OpenCL devices; use an index", which, n_found);
    *platform = devices[found].platform;
    *device = devices[found].device;
out:
    return st;
}
