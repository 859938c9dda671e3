/* A token's text opened in one call: read, checked, unmasked. tokens.py says what a token is and has the same
 * in Python, which serves where this is not built and which the tests hold this against.
 *
 * Invariant: nothing is told of a token whose MAC is not ours for this kind, and the time it takes to say so
 * does not depend on the MAC; nothing is read outside of the objects given.
 * Cost: two compressions of BLAKE2b, some 0.9 us in all, against 4.
 */

#include "_octets.h"

#define FORMER_VERSION 2
#define FORMER_BODY (OCTETS_BODY - 3) /* without device and country */
#define FORMER_CHARS (OCTETS_CHARS - 4)
#define FLAG_SUBJECT 16
#define MODEL_SHIFT 6

/* What is wrong, in the order of tokens._WRONG. */
enum { SPELLING, UNSIGNED, PURPOSE };

/* The value of a letter; 64 for what is none. */
static uint32_t letter(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26u;
    if (c >= '0' && c <= '9')
        return c - '0' + 52u;
    return c == '-' ? 62 : c == '_' ? 63 : 64;
}

/* The bytes of a text whose length is a multiple of four; 0 where it is no such text. */
static int decoded(uint8_t *raw, const char *text, size_t chars)
{
    for (size_t i = 0; i < chars; i += 4, raw += 3) {
        uint32_t four = 0, odd = 0;
        for (size_t j = 0; j < 4; j++) {
            uint32_t value = letter((uint8_t)text[i + j]);
            odd |= value & 64;
            four = four << 6 | (value & 63);
        }
        if (odd)
            return 0;
        raw[0] = (uint8_t)(four >> 16);
        raw[1] = (uint8_t)(four >> 8);
        raw[2] = (uint8_t)four;
    }
    return 1;
}

static int same(const uint8_t *one, const uint8_t *other, size_t size)
{
    volatile uint8_t differ = 0;
    for (size_t i = 0; i < size; i++)
        differ |= one[i] ^ other[i];
    return !differ;
}

static unsigned long long number(const uint8_t *at, size_t size)
{
    unsigned long long value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | at[i];
    return value;
}

static PyObject *letters(const uint8_t *at)
{
    return at[0] || at[1] ? PyUnicode_DecodeASCII((const char *)at, 2, NULL) : PyUnicode_FromString("");
}

/* From a body in the present layout, masked. */
static PyObject *fields(int kind, const uint8_t *body, const uint8_t *pad)
{
    uint8_t mask[OCTETS_STATE], hidden[24];
    octets_hashed(mask, pad, body, 16);
    for (size_t i = 0; i < sizeof hidden; i++)
        hidden[i] = body[OCTETS_BODY - sizeof hidden + i] ^ mask[i];
    uint8_t flags = body[33];
    const char *subject = flags & FLAG_SUBJECT ? (const char *)hidden + 8 : NULL;
    return Py_BuildValue(
        "iy#KKKKKKiiy#NK", kind, (const char *)body, (Py_ssize_t)16, number(body + 16, 4),
        number(body + 20, 4), number(body + 24, 4), number(body + 28, 3), number(body + 31, 2),
        number(hidden, 8), flags >> MODEL_SHIFT, flags & ~FLAG_SUBJECT & ((1 << MODEL_SHIFT) - 1), subject,
        (Py_ssize_t)16, letters(body + 35), number(body + 34, 1));
}

/* open(text, kind, macs, pad): see _octets.pyi. */
PyObject *octets_open(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    uint8_t raw[OCTETS_RAW], said[2 + OCTETS_BODY], sign[OCTETS_STATE];
    Py_ssize_t chars, length;
    char *pad, *macs;
    (void)module;
    if (count != 4 || !PyTuple_Check(given[2]) || PyTuple_Size(given[2]) != 16) {
        PyErr_SetString(PyExc_TypeError, "open takes a text, a kind, a tuple of 16 and a pad");
        return NULL;
    }
    long kind = PyLong_AsLong(given[1]);
    if ((kind == -1 && PyErr_Occurred()) || PyBytes_AsStringAndSize(given[3], &pad, &length) < 0)
        return NULL;
    if (length != OCTETS_STATE) {
        PyErr_SetString(PyExc_ValueError, "a pad is prepared");
        return NULL;
    }
    const char *text = PyUnicode_AsUTF8AndSize(given[0], &chars);
    if (!text) {
        /* Half a surrogate is no letter of ours; what is no text at all is a mistake. */
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return NULL;
        PyErr_Clear();
        return PyLong_FromLong(SPELLING);
    }
    if ((chars != OCTETS_CHARS && chars != FORMER_CHARS) || !decoded(raw, text, (size_t)chars))
        return PyLong_FromLong(SPELLING);
    int former = chars == FORMER_CHARS, found = raw[1];
    PyObject *key = PyTuple_GetItem(given[2], raw[0] & 15);
    if (raw[0] >> 4 != (former ? FORMER_VERSION : OCTETS_VERSION) || key == Py_None || found < 1
        || found > OCTETS_KINDS)
        return PyLong_FromLong(UNSIGNED);
    if (PyBytes_AsStringAndSize(key, &macs, &length) < 0)
        return NULL;
    if (length != OCTETS_STATE) {
        PyErr_SetString(PyExc_ValueError, "a key is prepared");
        return NULL;
    }
    size_t body = former ? FORMER_BODY : OCTETS_BODY;
    memcpy(said, raw, 2 + body);
    said[1] = (uint8_t)((found - 1) / OCTETS_PARTS);
    octets_hashed(sign, (uint8_t *)macs, said, 2 + body);
    if (!same(raw + 2 + body, sign + (found - 1) % OCTETS_PARTS * OCTETS_MAC, OCTETS_MAC))
        return PyLong_FromLong(UNSIGNED);
    if (kind && kind != found)
        return PyLong_FromLong(PURPOSE);
    if (former) {
        memmove(said + 2 + OCTETS_BODY - 24, said + 2 + FORMER_BODY - 24, 24);
        memset(said + 2 + FORMER_BODY - 24, 0, 3);
    }
    return fields(found, said + 2, (uint8_t *)pad);
}
