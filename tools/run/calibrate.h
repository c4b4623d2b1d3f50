/* SPDX-License-Identifier: MIT
 * calibrate.h - writes what fdec_phi_read reads */
#ifndef CALIBRATE_H
#define CALIBRATE_H
#include "err.h"
#include <stdint.h>

/* phi [n_layers, n_heads], finite. model: its path, whose last part goes in for people. The file is there whole or as
 * it was. */
bool calibration_write(const char *path, const char *model, uint32_t n_layers, uint32_t n_heads, const float *phi,
                       struct err *e);
#endif
