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

/* Of a token (tokens.py), in bytes up to OCTETS_RAW. */
#define OCTETS_BODY 61 /* without version, kind and MAC */
#define OCTETS_MAC 15
#define OCTETS_RAW (2 + OCTETS_BODY + OCTETS_MAC)
#define OCTETS_CHARS 104
#define OCTETS_VERSION 3
#define OCTETS_KINDS 6
#define OCTETS_PARTS 4 /* MACs of one hash */

#define OCTETS_STATE 64 /* of BLAKE2b, and its longest hash */

/* The hash of 1 to 128 bytes, from a prepared state. */
void octets_hashed(uint8_t out[OCTETS_STATE], const uint8_t *prepared, const uint8_t *said, size_t size);

/* The hash, of so many bytes, of anything, without a key. */
void octets_digest(uint8_t *out, size_t length, const uint8_t *said, size_t size);

#define OCTETS_ROW 64 /* frames made in one call, at most */
#define OCTETS_FAILED (-100)

/* Of _open.c. */
int octets_opened(uint8_t body[OCTETS_BODY], const char *text, size_t chars, long kind, PyObject *macs);
PyObject *octets_told_of(const uint8_t *body, PyObject *pad, const char *agent, const char *forwarded, size_t size);

/* A frame, and the part of it that the chain covers; returns the frame's size, 4 + that of the personal part
 * longer than the other's. Room for both is given. */
size_t octets_framed(uint8_t *frame, uint8_t *chain, const uint8_t *record, size_t record_size, const uint8_t *secret,
                     size_t secret_size, uint32_t seed);

/* A CRC-32 that goes on from another; 0 is that of nothing. */
uint32_t octets_checked(uint32_t crc, const uint8_t *at, size_t size);

/* Once, before the first frame. */
void octets_prepare_frames(void);

/* Once, before the first touch. -1 with an exception. */
int octets_prepare_touches(void);

PyObject *octets_frame(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *octets_open(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *octets_bare(PyObject *module, PyObject *received);
PyObject *octets_told(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *octets_recorded(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *octets_booked(PyObject *module, PyObject *const *given, Py_ssize_t count);
PyObject *octets_is_plain(PyObject *module, PyObject *body);
PyObject *octets_touched(PyObject *module, PyObject *const *given, Py_ssize_t count);

#endif
