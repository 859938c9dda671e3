/* The frames of a row of impressions in one call. domain/told.py says which record each is, and has the same in
 * Python, which serves where this is not built and which the tests hold this against.
 *
 * Invariant: the bytes are those that MessagePack gives a ``Recorded`` with its ``Personal``; nothing is written
 * outside of what was asked for.
 * Cost: some 0.6 us a frame, against 4.
 * Source: the MessagePack specification; every number in its shortest form.
 */

#include "_octets.h"

#define TOLD 17 /* a Told's fields */
#define RECORD_MAX 160 /* an impression's; 17 numbers of 9 bytes would be no more than that */
#define SECRET_MAX 40
#define FRAME_MAX (8 + SECRET_MAX + 8 + RECORD_MAX)
#define SALT 8

/* Of a Told (domain/told.py). */
enum { EVENT_ID, KEY, DECIDED, UNTIL, LINE_ITEM, CREATIVE, PLACEMENT, RENDER, DAY, PRICE, MODEL, FLAGS, SUBJECT, COUNTRY,
       DEVICE };

/* The field of Recorded and of Personal that they begin with. */
static const uint8_t begins[] = {0xdc, 0, 17, 2}, whose[] = {0x95};

static uint8_t *put(uint8_t *at, const void *octets, size_t size)
{
    memcpy(at, octets, size);
    return at + size;
}

static uint8_t *put_bytes(uint8_t *at, const void *octets, size_t size)
{
    *at++ = 0xc4;
    *at++ = (uint8_t)size;
    return put(at, octets, size);
}

static uint8_t *put_number(uint8_t *at, unsigned long long value)
{
    if (value < 128) {
        *at++ = (uint8_t)value;
        return at;
    }
    int size = value >> 32 ? 8 : value >> 16 ? 4 : value >> 8 ? 2 : 1;
    *at++ = (uint8_t)(size == 8 ? 0xcf : size == 4 ? 0xce : size == 2 ? 0xcd : 0xcc);
    while (size--)
        *at++ = (uint8_t)(value >> 8 * size);
    return at;
}

/* A tuple's number; -1 with an exception for what is none. */
static int number(PyObject *told, Py_ssize_t field, unsigned long long *value)
{
    *value = PyLong_AsUnsignedLongLong(PyTuple_GetItem(told, field));
    return *value == (unsigned long long)-1 && PyErr_Occurred() ? -1 : 0;
}

/* A tuple's bytes of this size. */
static int octets(PyObject *told, Py_ssize_t field, Py_ssize_t size, char **found)
{
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(PyTuple_GetItem(told, field), found, &length) < 0)
        return -1;
    if (length == size)
        return 0;
    PyErr_Format(PyExc_ValueError, "%zd bytes, not %zd", length, size);
    return -1;
}

static PyObject *short_text(PyObject *told, Py_ssize_t field)
{
    PyObject *text = PyUnicode_AsUTF8String(PyTuple_GetItem(told, field));
    if (text && PyBytes_Size(text) > 2) {
        Py_CLEAR(text);
        PyErr_SetString(PyExc_ValueError, "a country of two letters");
    }
    return text;
}

/* A record's size, 0 with an exception. */
static size_t record_of(uint8_t *out, PyObject *told, unsigned long long at_ms, const unsigned long long *said)
{
    static const Py_ssize_t places[] = {LINE_ITEM, CREATIVE, PLACEMENT};
    uint8_t *at = put(out, begins, sizeof begins);
    unsigned long long value, device;
    char *event_id;
    PyObject *country;
    if (octets(told, EVENT_ID, 16, &event_id) < 0)
        return 0;
    at = put_bytes(at, event_id, 16);
    *at++ = 1; /* an impression */
    *at++ = 1; /* accepted */
    at = put_number(at, at_ms);
    for (size_t i = 0; i < 3; i++) {
        if (number(told, places[i], &value) < 0)
            return 0;
        at = put_number(at, value);
    }
    at = put_number(put_number(at, said[0]), said[1]);
    if (number(told, DAY, &value) < 0 || number(told, DEVICE, &device) < 0 || !(country = short_text(told, COUNTRY)))
        return 0;
    at = put_number(at, value);
    at = put(at, "\xa0\x00\xc2", 3); /* no reason, nothing free, no test */
    *at++ = (uint8_t)(0xa0 | PyBytes_Size(country));
    at = put(at, PyBytes_AsString(country), (size_t)PyBytes_Size(country));
    Py_DECREF(country);
    return (size_t)(put_number(put_number(at, device), said[2]) - out);
}

static size_t secret_of(uint8_t *out, PyObject *told, PyObject *salt)
{
    uint8_t *at = put(out, whose, sizeof whose);
    char *found;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(salt, &found, &size) < 0)
        return 0;
    if (size != SALT) {
        PyErr_SetString(PyExc_ValueError, "a salt has 8 bytes");
        return 0;
    }
    at = put_bytes(at, found, SALT);
    if (PyTuple_GetItem(told, SUBJECT) == Py_None)
        *at++ = 0xc0;
    else if (octets(told, SUBJECT, 16, &found) < 0)
        return 0;
    else
        at = put_bytes(at, found, 16);
    return (size_t)(put(at, "\xc0\xc0\xc0", 3) - out);
}

/* One of a row: (told, billed, unbilled, conversion, salt). -1 with an exception. */
static int add(uint8_t **frame, uint8_t **chain, PyObject *one, unsigned long long at_ms, uint32_t seed)
{
    uint8_t record[RECORD_MAX], secret[SECRET_MAX];
    unsigned long long said[3];
    PyObject *told = PyTuple_Check(one) && PyTuple_Size(one) == 5 ? PyTuple_GetItem(one, 0) : NULL;
    if (!told || !PyTuple_Check(told) || PyTuple_Size(told) != TOLD) {
        PyErr_SetString(PyExc_TypeError, "a row is of tuples of five, each with a Told");
        return -1;
    }
    for (Py_ssize_t i = 0; i < 3; i++)
        if (number(one, 1 + i, said + i) < 0)
            return -1;
    size_t record_size = record_of(record, told, at_ms, said);
    size_t secret_size = record_size ? secret_of(secret, told, PyTuple_GetItem(one, 4)) : 0;
    if (!secret_size)
        return -1;
    *frame += octets_framed(*frame, *chain, record, record_size, secret, secret_size, seed);
    *chain += 4 + 8 + record_size;
    return 0;
}

/* recorded(row, at_ms, seed): see _octets.pyi. */
PyObject *octets_recorded(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    uint8_t frames[OCTETS_ROW * FRAME_MAX], chain[OCTETS_ROW * FRAME_MAX], *frame = frames, *covered = chain;
    (void)module;
    if (count != 3 || !PyList_Check(given[0]) || PyList_Size(given[0]) > OCTETS_ROW) {
        PyErr_SetString(PyExc_TypeError, "recorded takes a short list, a time and a seed");
        return NULL;
    }
    unsigned long long at_ms = PyLong_AsUnsignedLongLong(given[1]);
    if (at_ms == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    unsigned long seed = PyLong_AsUnsignedLong(given[2]);
    if (seed == (unsigned long)-1 && PyErr_Occurred())
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_Size(given[0]); i++)
        if (add(&frame, &covered, PyList_GetItem(given[0], i), at_ms, (uint32_t)seed) < 0)
            return NULL;
    return Py_BuildValue(
        "y#y#", (char *)frames, (Py_ssize_t)(frame - frames), (char *)chain, (Py_ssize_t)(covered - chain));
}
