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

/* The arrays that hold all postings, and the chunk that is looked at. */
typedef struct {
    const uint64_t *words;
    const uint32_t *sparse;
    Py_ssize_t words_count, sparse_count, chunk;
} Index;

#define WORDS 64 /* of a chunk */

/* ValueError; always -1. */
int kernel_corrupt(const char *what);

/* Whether a buffer is of numbers of ``size`` bytes, which may be read in place; else 0 with ValueError. */
int kernel_whole(const Py_buffer *view, Py_ssize_t size);

/* The mask that ``length`` numbers of a program say, into WORDS words; -1 with an exception. */
int kernel_run(uint64_t *bits, const Index *index, const int64_t *program, Py_ssize_t length);

/* Whether the arrays and the chunk may be used; else 0 with an exception. */
int kernel_usable(const Py_buffer *words, const Py_buffer *sparse, Py_ssize_t chunk);

/* Once, before anything is looked up. */
void kernel_prepare(void);

PyObject *kernel_program(PyObject *module, PyObject *arguments);
PyObject *kernel_common(PyObject *module, PyObject *arguments);
PyObject *kernel_pack(PyObject *module, PyObject *arguments);
PyObject *kernel_mix(PyObject *module, PyObject *arguments);
PyObject *kernel_below(PyObject *module, PyObject *arguments);

#endif
