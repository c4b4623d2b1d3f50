/* SPDX-License-Identifier: MIT
 * info.h - flashdec-info: what its files share
 *
 * info.c reads the command line, gathers one JSON object and prints it, as it is or for people; info_work.c does what
 * takes time: the self-test and filling the program cache. */
#ifndef INFO_H
#define INFO_H
#include "session.h"
#include <jansson.h>

/* Every variant of every big operation on a small problem, against the double reference. One that fails is denied, now
 * and (by the disk cache) in every later context of this device and driver. Returns [{problem, kernel, pass,
 * error_ratio, reason}]; *failures counts the denied variants. */
json_t *self_test(struct session *s, int *failures);

/* Builds all that flashdec-run needs for a model, and runs each once, since drivers compile at the first launch too.
 * Works on the device of FLASHDEC_DEVICE. NULL, with a line in why: it did not work. */
json_t *warm(const char *model_path, char *why, size_t n);
#endif
