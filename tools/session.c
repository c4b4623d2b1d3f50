/* SPDX-License-Identifier: MIT
 * session.c - a device opened for a command line tool */
#include "session.h"
#include <string.h>

fdec_status session_open(const char *which, struct session *s)
{
    fdec_status st = FDEC_OK;
    cl_int err;
    memset(s, 0, sizeof *s);
    try_st(fdec_device_pick(which, &s->platform, &s->device));
    s->context = clCreateContext(NULL, 1, &s->device, NULL, NULL, &err);
    try_cl(err);
    s->queue = clCreateCommandQueue(s->context, s->device, 0, &err);
    try_cl(err);
    st = fdec_ctx_create(s->context, s->device, NULL, &s->ctx);
out:
    if (st != FDEC_OK)
        session_close(s);
    return st;
}

void session_close(struct session *s)
{
    fdec_ctx_destroy(&s->ctx);
    if (s->queue)
        clReleaseCommandQueue(s->queue);
    if (s->context)
        clReleaseContext(s->context);
    memset(s, 0, sizeof *s);
}
