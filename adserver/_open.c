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
#define HIDDEN 24
#define FLAG_SUBJECT 16
#define MODEL_SHIFT 6
#define MODEL_HIGH 32 /* the third bit of the model */

/* What is wrong, down in the order of tokens._WRONG. */
enum { SPELLING = -1, UNSIGNED = -2, PURPOSE = -3 };

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

/* From a body in the present layout, masked: its price and its subject, or NULL where it has none. */
static const uint8_t *unmasked(uint8_t hidden[HIDDEN], const uint8_t *body, const uint8_t *pad)
{
    uint8_t mask[OCTETS_STATE];
    octets_hashed(mask, pad, body, 16);
    for (size_t i = 0; i < HIDDEN; i++)
        hidden[i] = body[OCTETS_BODY - HIDDEN + i] ^ mask[i];
    return body[33] & FLAG_SUBJECT ? hidden + 8 : NULL;
}

static int flags_of(const uint8_t *body)
{
    return body[33] & ~FLAG_SUBJECT & (MODEL_HIGH - 1);
}

static int model_of(const uint8_t *body)
{
    return body[33] >> MODEL_SHIFT | (body[33] & MODEL_HIGH) >> 3;
}

static PyObject *fields(int kind, const uint8_t *body, const uint8_t *pad)
{
    uint8_t hidden[HIDDEN];
    const char *subject = (const char *)unmasked(hidden, body, pad);
    return Py_BuildValue(
        "iy#KKKKKKiiy#NK", kind, (const char *)body, (Py_ssize_t)16, number(body + 16, 4),
        number(body + 20, 4), number(body + 24, 4), number(body + 28, 3), number(body + 31, 2),
        number(hidden, 8), model_of(body), flags_of(body), subject,
        (Py_ssize_t)16, letters(body + 35), number(body + 34, 1));
}

static int prepared(PyObject *object, uint8_t **found)
{
    char *octets;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(object, &octets, &length) < 0)
        return -1;
    if (length != OCTETS_STATE) {
        PyErr_SetString(PyExc_ValueError, "a key, and a pad, is prepared");
        return -1;
    }
    *found = (uint8_t *)octets;
    return 0;
}

/* A token's body, in the present layout and masked, and its kind; less than 0: what is wrong with it, or
 * OCTETS_FAILED with an exception. ``kind`` 0: any; ``macs``: by key id. */
int octets_opened(uint8_t body[OCTETS_BODY], const char *text, size_t chars, long kind, PyObject *macs)
{
    uint8_t raw[OCTETS_RAW], said[2 + OCTETS_BODY], sign[OCTETS_STATE], *key;
    if (!PyTuple_Check(macs) || PyTuple_Size(macs) != 16) {
        PyErr_SetString(PyExc_TypeError, "keys are a tuple of 16");
        return OCTETS_FAILED;
    }
    if ((chars != OCTETS_CHARS && chars != FORMER_CHARS) || !decoded(raw, text, chars))
        return SPELLING;
    int former = chars == FORMER_CHARS, found = raw[1];
    PyObject *given = PyTuple_GetItem(macs, raw[0] & 15);
    if (raw[0] >> 4 != (former ? FORMER_VERSION : OCTETS_VERSION) || given == Py_None || found < 1
        || found > OCTETS_KINDS)
        return UNSIGNED;
    if (prepared(given, &key) < 0)
        return OCTETS_FAILED;
    size_t size = former ? FORMER_BODY : OCTETS_BODY;
    memcpy(said, raw, 2 + size);
    said[1] = (uint8_t)((found - 1) / OCTETS_PARTS);
    octets_hashed(sign, key, said, 2 + size);
    if (!same(raw + 2 + size, sign + (found - 1) % OCTETS_PARTS * OCTETS_MAC, OCTETS_MAC))
        return UNSIGNED;
    if (kind && kind != found)
        return PURPOSE;
    memcpy(body, said + 2, size);
    if (former) {
        memmove(body + OCTETS_BODY - HIDDEN, body + FORMER_BODY - HIDDEN, HIDDEN);
        memset(body + FORMER_BODY - HIDDEN, 0, 3);
    }
    return found;
}

/* open(text, kind, macs, pad): see _octets.pyi. */
PyObject *octets_open(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    uint8_t body[OCTETS_BODY], *pad;
    Py_ssize_t chars;
    (void)module;
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "open takes a text, a kind, a tuple of 16 and a pad");
        return NULL;
    }
    long kind = PyLong_AsLong(given[1]);
    if ((kind == -1 && PyErr_Occurred()) || prepared(given[3], &pad) < 0)
        return NULL;
    const char *text = PyUnicode_AsUTF8AndSize(given[0], &chars);
    if (!text) {
        /* Half a surrogate is no letter of ours; what is no text at all is a mistake. */
        if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            return NULL;
        PyErr_Clear();
        return PyLong_FromLong(0);
    }
    int found = octets_opened(body, text, (size_t)chars, kind, given[2]);
    if (found == OCTETS_FAILED)
        return NULL;
    return found < 0 ? PyLong_FromLong(SPELLING - found) : fields(found, body, pad);
}

/* ``fields`` of an impression's body as a ``domain.told.Told``, with who tells. */
PyObject *octets_told_of(const uint8_t *body, PyObject *given, const char *agent, const char *forwarded, size_t size)
{
    uint8_t hidden[HIDDEN], key[17], *pad;
    if (prepared(given, &pad) < 0)
        return NULL;
    const char *subject = (const char *)unmasked(hidden, body, pad);
    unsigned long long render_s = number(body + 28, 3), decided_ms = number(body, 6);
    memcpy(key, body, 16);
    key[16] = 1;
    return Py_BuildValue(
        "y#y#KKKKKKKKiiy#NKsy#", (const char *)body, (Py_ssize_t)16, (const char *)key, (Py_ssize_t)17,
        decided_ms, decided_ms + 1000 * render_s, number(body + 16, 4), number(body + 20, 4),
        number(body + 24, 4), render_s, number(body + 31, 2), number(hidden, 8), model_of(body),
        flags_of(body), subject, (Py_ssize_t)16, letters(body + 35), number(body + 34, 1), agent, forwarded,
        (Py_ssize_t)size);
}
