/* SPDX-License-Identifier: MIT
 * scratch.h - a folder of its own for a unit test program: make_dir and remove_dir are its group setup and teardown */
#ifndef SCRATCH_H
#define SCRATCH_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[64];

static int make_dir(void **state)
{
    (void) state;
    strcpy(dir, "/tmp/flashdec-unit-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[128];
    (void) state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static const char *in_dir(const char *name) /* valid until the next call */
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}
#endif
