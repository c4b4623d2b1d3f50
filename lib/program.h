/* SPDX-License-Identifier: MIT
 * program.h - source + -D list -> cl_program, from memory, the disk cache, or the driver's compiler
 *
 * The disk key is everything that made the program: expanded source, options, platform, device, driver, library
 * version. The full key is stored and compared, the binary has a checksum, files appear by rename; any doubt means a
 * rebuild. */
#ifndef PROGRAM_H
#define PROGRAM_H
#include "kernel.h"
#include "util.h"

struct fdec_ctx;

/* What every program is built with. -w: PoCL writes "51 warnings generated." to the process's standard error when clang
 * remarks that float16 by value has another ABI with AVX-512. Errors are shown as ever. */
#define PROGRAM_OPTIONS "-cl-std=CL1.2 -w"
/* Or, where kernels use sub-groups, which that version of the language has not. shuffle: cl/shuffle.h. */
const char *program_standard(int shuffle);

/* The program of a launch of one variant in one configuration for one class: the same for all launches but those that
 * are compiled apart. Retained by the context's memory cache; release it with clReleaseProgram. Thread-safe. */
fdec_status program_get(struct fdec_ctx *ctx, const struct kernel *k, const struct problem *p, const int *cfg,
                        int launch, cl_program *out);
bool program_is_apart(const struct fdec_ctx *ctx, const struct kernel *k, const struct problem *p, int launch);

/* The folder whose sources replace the built-in ones (FLASHDEC_CL_DIR), NULL: none. What is learnt of such sources is
 * never kept on disk. */
const char *program_override_dir(void);
char *program_override_text(const struct source *src); /* malloc'ed; NULL: the built-in text is compiled */

/* Any source with any options: probes. */
fdec_status program_build(struct fdec_ctx *ctx, const struct source *src, const char *options, cl_program *out);

/* A small answer of n bytes kept on disk (probe and self-test results) under the same key as a program whose options
 * are `name` and whose source is `text`. False: not there. */
bool cache_load(struct fdec_ctx *ctx, const char *name, const char *text, void *data, size_t n);
void cache_store(struct fdec_ctx *ctx, const char *name, const char *text, const void *data, size_t n);

/* Options of a launch: the device's capabilities, the variant's -D list and what the class fixes, or what the launch
 * has of its own. buf of 2 * MAX_DEFINES bytes. */
void program_options(const struct kernel *k, const struct problem *p, const struct device *d, const int *cfg,
                     int launch, char *buf, size_t n);
#endif
