/* What a run of impressions leaves for conversions in state/touches.py, which has the same in Python, serves where this
 * is not built, and is what the tests hold this against. Nothing is kept here: buckets are Python's dictionaries.
 *
 * Cost: some 0.6 us a touch against 1.2, half of it cold memory.
 */

#include "_octets.h"

#define TOUCH 58 /* bytes of one: touches._PACKED */

/* Of a Told (domain/told.py), and of one that is accepted. */
enum { EVENT_ID = 0, LINE_ITEM = 4, CREATIVE, PLACEMENT, DAY = 8, SUBJECT = 12, COUNTRY, DEVICE, CONVERSION = 3 };

/* -1 with an exception; no number here is negative. */
static long long number_in(PyObject *object)
{
    return object ? PyLong_AsLongLong(object) : -1;
}

/* The Told of one of a run; NULL with an exception. */
static PyObject *told_in(PyObject *run, Py_ssize_t place)
{
    PyObject *accepted = PyList_GetItem(run, place);
    PyObject *told = accepted && PyTuple_GetItem(accepted, CONVERSION) ? PyTuple_GetItem(accepted, 0) : NULL;
    return told && PyTuple_GetItem(told, DEVICE) ? told : NULL;
}

static uint8_t *put(uint8_t *at, int size, unsigned long long value)
{
    while (size--)
        *at++ = (uint8_t)(value >> 8 * size);
    return at;
}

/* A number of the Told in so many bytes. NULL with an exception, also where there is none. */
static uint8_t *put_said(uint8_t *at, int size, PyObject *number)
{
    unsigned long long value = PyLong_AsUnsignedLongLong(number);
    if (value == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    if (size < 8 && value >> 8 * size) {
        PyErr_SetString(PyExc_OverflowError, "a number of a token does not fit a touch");
        return NULL;
    }
    return put(at, size, value);
}

static uint8_t *put_country(uint8_t *at, PyObject *country)
{
    PyObject *text = PyUnicode_AsASCIIString(country);
    Py_ssize_t size = text ? PyBytes_Size(text) : -1;
    if (size == 2 || size == 0) {
        memset(at, 0, 2);
        memcpy(at, PyBytes_AsString(text), (size_t)size);
    } else if (size > 0) {
        PyErr_SetString(PyExc_ValueError, "a country of two letters");
    }
    Py_XDECREF(text);
    return size == 2 || size == 0 ? at + 2 : NULL;
}

/* One impression's; -1 with an exception. */
static int put_touch(uint8_t out[TOUCH], PyObject *told, PyObject *conversion, long long at_ms, long long until_ms)
{
    static const struct { int field, size; } said[] = {{LINE_ITEM, 4}, {CREATIVE, 4}, {PLACEMENT, 4}, {DAY, 2}};
    char *event_id;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(PyTuple_GetItem(told, EVENT_ID), &event_id, &size) < 0)
        return -1;
    if (size != 16) {
        PyErr_SetString(PyExc_ValueError, "an event id has 16 bytes");
        return -1;
    }
    memcpy(out, event_id, 16);
    out[16] = 1; /* an impression */
    uint8_t *at = put(put(out + 17, 8, (unsigned long long)at_ms), 8, (unsigned long long)until_ms);
    for (int i = 0; at && i < 4; i++)
        at = put_said(at, said[i].size, PyTuple_GetItem(told, said[i].field));
    at = at ? put_said(at, 8, conversion) : NULL;
    at = at ? put_country(at, PyTuple_GetItem(told, COUNTRY)) : NULL;
    return at && put_said(at, 1, PyTuple_GetItem(told, DEVICE)) ? 0 : -1;
}

/* Behind what the person has there: 1, 0 where the oldest had to go, -1 with an exception. */
static int keep(PyObject *bucket, PyObject *who, const uint8_t *touch, Py_ssize_t most)
{
    PyObject *before = PyDict_GetItemWithError(bucket, who);
    char *octets = NULL;
    Py_ssize_t size = 0;
    if (before ? PyBytes_AsStringAndSize(before, &octets, &size) < 0 : PyErr_Occurred() != NULL)
        return -1;
    Py_ssize_t gone = size + TOUCH > most && size >= TOUCH ? TOUCH : 0;
    PyObject *together = PyBytes_FromStringAndSize(NULL, size - gone + TOUCH);
    if (!together)
        return -1;
    char *out = PyBytes_AsString(together);
    if (size > gone)
        memcpy(out, octets + gone, (size_t)(size - gone));
    memcpy(out + size - gone, touch, TOUCH);
    int failed = PyDict_SetItem(bucket, who, together) < 0;
    Py_DECREF(together);
    return failed ? -1 : !gone;
}

/* The bucket of a number, made where there is none; borrowed. */
static PyObject *bucket_of(PyObject *buckets, long long number)
{
    PyObject *key = PyLong_FromLongLong(number), *made = NULL;
    PyObject *found = key ? PyDict_GetItemWithError(buckets, key) : NULL;
    if (key && !found && !PyErr_Occurred() && (made = PyDict_New()) && PyDict_SetItem(buckets, key, made) == 0)
        found = made;
    Py_XDECREF(made);
    Py_XDECREF(key);
    return found;
}

static PyObject *view_window_ms;

int octets_prepare_touches(void)
{
    return view_window_ms || (view_window_ms = PyUnicode_InternFromString("view_window_ms")) ? 0 : -1;
}

/* How long a conversion is owed to it; 0: not, -1 with an exception. */
static long long window_of(PyObject *told, PyObject *terms)
{
    PyObject *promised = PyDict_GetItemWithError(terms, PyTuple_GetItem(told, LINE_ITEM));
    if (!promised)
        return PyErr_Occurred() ? -1 : 0;
    if (PyTuple_GetItem(told, SUBJECT) == Py_None)
        return 0;
    PyObject *found = PyObject_GetAttr(promised, view_window_ms);
    long long window_ms = number_in(found);
    Py_XDECREF(found);
    return window_ms;
}

/* touched(run, at_ms, terms, buckets, width_ms, late_ms, most): see _octets.pyi. */
PyObject *octets_touched(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    Py_ssize_t added = 0, dropped = 0;
    (void)module;
    if (count != 7 || !PyList_Check(given[0]) || !PyDict_Check(given[2]) || !PyDict_Check(given[3])) {
        PyErr_SetString(PyExc_TypeError, "touched takes a list, a time, two dictionaries and three numbers");
        return NULL;
    }
    long long at_ms = number_in(given[1]), width_ms = number_in(given[4]), late_ms = number_in(given[5]);
    Py_ssize_t most = PyLong_AsSsize_t(given[6]);
    if (PyErr_Occurred())
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_Size(given[0]); i++) {
        uint8_t touch[TOUCH];
        PyObject *told = told_in(given[0], i);
        long long window_ms = told ? window_of(told, given[2]) : -1;
        if (window_ms == 0)
            continue;
        long long until_ms = at_ms + window_ms;
        PyObject *conversion = window_ms > 0 ? PyTuple_GetItem(PyList_GetItem(given[0], i), CONVERSION) : NULL;
        PyObject *bucket = conversion && put_touch(touch, told, conversion, at_ms, until_ms) == 0
                               ? bucket_of(given[3], (until_ms + late_ms) / width_ms)
                               : NULL;
        int one = bucket ? keep(bucket, PyTuple_GetItem(told, SUBJECT), touch, most) : -1;
        if (one < 0)
            return NULL;
        added += one;
        dropped += !one;
    }
    return Py_BuildValue("nn", added, dropped);
}
