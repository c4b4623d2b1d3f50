/* SPDX-License-Identifier: MIT
 * session.h - a device opened for a command line tool */
#ifndef SESSION_H
#define SESSION_H
#include "ctx.h"

struct session {
    cl_platform_id platform;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue; /* in order */
    fdec_ctx *ctx;
};

/* which: as in fdec_device_pick. On failure everything is closed and fdec_last_error() says why. */
fdec_status session_open(const char *which, struct session *s);
void session_close(struct session *s);
#endif
