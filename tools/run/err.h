/* SPDX-License-Identifier: MIT
 * err.h - one line of text for what went wrong: the first failure sets it, everyone above hands on `false` */
#ifndef ERR_H
#define ERR_H
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

struct err {
    char text[800];
};

/* Always false, so that a check reads `return err_set(...)`. */
__attribute__((format(printf, 2, 3))) static inline bool err_set(struct err *e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return false;
}
#endif
