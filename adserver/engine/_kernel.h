/* What the kernel's files share. */

#ifndef ADSERVER_KERNEL_H
#define ADSERVER_KERNEL_H

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "masks are little-endian"
#endif

#define HEADER 5 /* how a program begins: wildcard, includes, excludes, free, required */

/* ValueError; always -1. */
int kernel_corrupt(const char *what);

/* Whether a buffer is of numbers of ``size`` bytes, which may be read in place; else 0 with ValueError. */
int kernel_whole(const Py_buffer *view, Py_ssize_t size);

PyObject *kernel_program(PyObject *module, PyObject *arguments);

#endif
