/* What the module's files share. */

#ifndef ADSERVER_OCTETS_H
#define ADSERVER_OCTETS_H

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "hashes are little-endian"
#endif

PyObject *octets_is_plain(PyObject *module, PyObject *body);

#endif
