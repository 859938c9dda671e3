/* The tokens of an ad's URLs in one call: masked, signed and spelled. The other functions are in _open.c,
 * _plain.c, _bare.c, _frame.c and _recorded.c.
 *
 * Idea: BLAKE2b over what fits one block, keyed, is one compression behind the key's own, which is made once
 * for all (``prepared``). tokens.py says what a token is and has the same in Python, which serves where this is
 * not built and which the tests hold this against.
 * Invariant: nothing is read outside of the objects given, nothing written outside of what was asked for.
 * Cost: three compressions and six texts, some 1.5 us, against 12.
 * Source: RFC 7693 (BLAKE2), RFC 4648 section 5 (base64url).
 */

#include "_octets.h"

/* Raised with every change of what the functions take or give: a build of another one is not used. */
#define CONTRACT 10

#define BLOCK 128
#define STATE OCTETS_STATE
#define BODY OCTETS_BODY
#define MAC OCTETS_MAC
#define PARTS OCTETS_PARTS
#define HASHES 2   /* so kinds are 1 to 8 */
#define KINDS_MAX (PARTS * HASHES)
#define RAW OCTETS_RAW
#define GIVEN 16   /* arguments that make tokens */
#define ID 16      /* a minted id, and its text (domain/ids.py) */
#define NAME 26
#define CHARS OCTETS_CHARS

/* -- BLAKE2b --------------------------------------------------------------------------------------- */

static const uint64_t start[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};

static const uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint64_t turned(uint64_t word, unsigned by)
{
    return word >> by | word << (64 - by);
}

static void mix(uint64_t *v, size_t a, size_t b, size_t c, size_t d, uint64_t x, uint64_t y)
{
    v[a] += v[b] + x;
    v[d] = turned(v[d] ^ v[a], 32);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 24);
    v[a] += v[b] + y;
    v[d] = turned(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = turned(v[b] ^ v[c], 63);
}

static void compress(uint64_t state[8], const uint8_t block[BLOCK], uint64_t count, int last)
{
    uint64_t v[16], m[16];
    memcpy(m, block, BLOCK);
    memcpy(v, state, STATE);
    memcpy(v + 8, start, STATE);
    v[12] ^= count;
    v[14] ^= last ? UINT64_MAX : 0;
    for (size_t round = 0; round < 12; round++) {
        const uint8_t *s = sigma[round % 10];
        for (size_t i = 0; i < 4; i++)
            mix(v, i, 4 + i, 8 + i, 12 + i, m[s[2 * i]], m[s[2 * i + 1]]);
        for (size_t i = 0; i < 4; i++)
            mix(v, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4, m[s[8 + 2 * i]], m[s[9 + 2 * i]]);
    }
    for (size_t i = 0; i < 8; i++)
        state[i] ^= v[i] ^ v[8 + i];
}

void octets_hashed(uint8_t out[STATE], const uint8_t *prepared, const uint8_t *said, size_t size)
{
    uint64_t state[8];
    uint8_t block[BLOCK] = {0};
    memcpy(state, prepared, STATE);
    memcpy(block, said, size);
    compress(state, block, BLOCK + size, 1);
    memcpy(out, state, STATE);
}

void octets_digest(uint8_t *out, size_t length, const uint8_t *said, size_t size)
{
    uint64_t state[8];
    uint8_t block[BLOCK] = {0};
    uint64_t count = 0;
    memcpy(state, start, STATE);
    state[0] ^= 0x01010000 ^ (uint64_t)length;
    for (; size > BLOCK; size -= BLOCK, said += BLOCK)
        compress(state, said, count += BLOCK, 0);
    memcpy(block, said, size);
    compress(state, block, count + size, 1);
    memcpy(out, state, length);
}

static PyObject *prepared(PyObject *module, PyObject *arguments)
{
    const char *key;
    Py_ssize_t length, size;
    uint64_t state[8];
    uint8_t block[BLOCK] = {0};
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y#n:prepared", &key, &length, &size))
        return NULL;
    if (length < 1 || length > 64 || size < 1 || size > 64) {
        PyErr_SetString(PyExc_ValueError, "a key, and a hash, have 1 to 64 bytes");
        return NULL;
    }
    memcpy(state, start, STATE);
    state[0] ^= 0x01010000 ^ (uint64_t)length << 8 ^ (uint64_t)size;
    memcpy(block, key, (size_t)length);
    compress(state, block, BLOCK, 0);
    return PyBytes_FromStringAndSize((const char *)state, STATE);
}

/* -- a token; what is made of arguments gives -1, or NULL, with an exception ------------------------- */

static int whole(PyObject *object, Py_ssize_t size, const uint8_t **found)
{
    char *octets;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(object, &octets, &length) < 0)
        return -1;
    if (size >= 0 && length != size) {
        PyErr_Format(PyExc_ValueError, "%zd bytes, not %zd", size, length);
        return -1;
    }
    *found = (const uint8_t *)octets;
    return 0;
}

/* A number in so many bytes, the highest first. */
static int number(PyObject *object, uint8_t *out, size_t size)
{
    unsigned long long value = PyLong_AsUnsignedLongLong(object);
    if (value == UINT64_MAX && PyErr_Occurred())
        return -1;
    if (size < 8 && value >> (8 * size)) {
        PyErr_Format(PyExc_OverflowError, "a number of more than %zu bytes", size);
        return -1;
    }
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    return 0;
}

/* Two letters of a country, or two zeros of an empty text. */
static int country(PyObject *object, uint8_t out[2])
{
    Py_ssize_t length;
    const char *letters = PyUnicode_AsUTF8AndSize(object, &length);
    if (!letters)
        return -1;
    for (Py_ssize_t i = 0; i < length; i++)
        if (length != 2 || letters[i] < 'A' || letters[i] > 'Z') {
            PyErr_SetString(PyExc_ValueError, "no country of two letters");
            return -1;
        }
    memset(out, 0, 2);
    memcpy(out, letters, (size_t)length);
    return 0;
}

/* From (event id, line item, creative, placement, render_s, day, flags, device, country, price,
 * subject or None). */
static int pack(uint8_t body[BODY], const uint8_t *pad, PyObject *const *fields)
{
    static const uint8_t sizes[] = {4, 4, 4, 3, 2, 1, 1};
    const uint8_t *event_id, *subject = NULL;
    uint8_t mask[STATE], *at = body + 16;
    if (whole(fields[0], 16, &event_id) < 0)
        return -1;
    if (fields[10] != Py_None && whole(fields[10], 16, &subject) < 0)
        return -1;
    memcpy(body, event_id, 16);
    for (size_t i = 0; i < sizeof sizes; at += sizes[i++])
        if (number(fields[1 + i], at, sizes[i]) < 0)
            return -1;
    if (country(fields[8], at) < 0 || number(fields[9], at + 2, 8) < 0)
        return -1;
    at += 2 + 8;
    if (subject)
        memcpy(at, subject, 16);
    else
        memset(at, 0, 16);
    octets_hashed(mask, pad, event_id, 16);
    for (size_t i = 0; i < 24; i++)
        body[BODY - 24 + i] ^= mask[i];
    return 0;
}

static void spelled(char *out, const uint8_t raw[RAW])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < RAW; i += 3) {
        uint32_t three = (uint32_t)raw[i] << 16 | (uint32_t)raw[i + 1] << 8 | raw[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = letters[three >> shift & 63];
    }
}

/* What all tokens of an ad have in common, and the hashes that sign them. */
typedef struct {
    uint8_t said[2 + BODY], signs[HASHES][STATE];
} Signed;

/* From (macs, pad, first, kinds, between, *fields), see ``pack``: how long the tokens are, each behind its
 * text of ``between``. */
static Py_ssize_t sign(Signed *made, PyObject *const *given)
{
    const uint8_t *macs, *pad, *kinds, *text;
    if (whole(given[0], STATE, &macs) < 0 || whole(given[1], STATE, &pad) < 0
        || number(given[2], made->said, 1) < 0 || whole(given[3], -1, &kinds) < 0
        || pack(made->said + 2, pad, given + 5) < 0)
        return -1;
    Py_ssize_t many = PyBytes_Size(given[3]), size = many * CHARS;
    if (!PyTuple_Check(given[4]) || PyTuple_Size(given[4]) != many) {
        PyErr_SetString(PyExc_ValueError, "a text before each token");
        return -1;
    }
    for (Py_ssize_t i = 0; i < many; i++) {
        if (whole(PyTuple_GetItem(given[4], i), -1, &text) < 0)
            return -1;
        if (kinds[i] < 1 || kinds[i] > KINDS_MAX) {
            PyErr_SetString(PyExc_ValueError, "no such kind");
            return -1;
        }
        size += PyBytes_Size(PyTuple_GetItem(given[4], i));
    }
    for (uint8_t i = 0; i < HASHES; i++) {
        made->said[1] = i;
        octets_hashed(made->signs[i], macs, made->said, sizeof made->said);
    }
    return size;
}

/* Bytes as they are; where they end. */
static char *put(char *out, PyObject *bytes)
{
    size_t size = (size_t)PyBytes_Size(bytes);
    memcpy(out, PyBytes_AsString(bytes), size);
    return out + size;
}

static char *put_tokens(char *out, const Signed *of, PyObject *kinds, PyObject *between)
{
    uint8_t raw[RAW];
    const char *kind = PyBytes_AsString(kinds);
    memcpy(raw, of->said, sizeof of->said);
    for (Py_ssize_t i = 0; i < PyBytes_Size(kinds); i++, out += CHARS) {
        size_t n = (size_t)kind[i] - 1;
        out = put(out, PyTuple_GetItem(between, i));
        raw[1] = (uint8_t)kind[i];
        memcpy(raw + sizeof of->said, of->signs[n / PARTS] + n % PARTS * MAC, MAC);
        spelled(out, raw);
    }
    return out;
}

static PyObject *spell(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    Signed made;
    Py_ssize_t size;
    (void)module;
    if (count != GIVEN) {
        PyErr_SetString(PyExc_TypeError, "spell takes 16 arguments");
        return NULL;
    }
    if ((size = sign(&made, given)) < 0)
        return NULL;
    PyObject *texts = PyBytes_FromStringAndSize(NULL, size);
    if (texts)
        put_tokens(PyBytes_AsString(texts), &made, given[3], given[4]);
    return texts;
}

/* -- ids ------------------------------------------------------------------------------------------- */

/* Five bits a letter, the last of them first: 128 bits are the last of 130. */
static void put_name(char out[NAME], const uint8_t minted[ID])
{
    static const char letters[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint32_t bits = 0;
    int have = 0;
    for (int left = ID, at = NAME - 1; at >= 0; at--, bits >>= 5, have -= 5) {
        if (have < 5 && left > 0) {
            bits |= (uint32_t)minted[--left] << have;
            have += 8;
        }
        out[at] = letters[bits & 31];
    }
}

static PyObject *name(PyObject *module, PyObject *given)
{
    const uint8_t *minted;
    char text[NAME];
    (void)module;
    if (whole(given, ID, &minted) < 0)
        return NULL;
    put_name(text, minted);
    return PyUnicode_FromStringAndSize(text, NAME);
}

/* named(parts, *as of spell) */
static PyObject *named(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    Signed made;
    const uint8_t *text;
    Py_ssize_t size, parts;
    (void)module;
    if (count != 1 + GIVEN || !PyTuple_Check(given[0]) || (parts = PyTuple_Size(given[0])) < 2) {
        PyErr_SetString(PyExc_TypeError, "named takes two parts and more, and 16 arguments");
        return NULL;
    }
    if ((size = sign(&made, given + 1)) < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < parts; i++) {
        if (whole(PyTuple_GetItem(given[0], i), -1, &text) < 0)
            return NULL;
        size += PyBytes_Size(PyTuple_GetItem(given[0], i));
    }
    PyObject *made_whole = PyBytes_FromStringAndSize(NULL, size + NAME);
    if (!made_whole)
        return NULL;
    char *out = put(PyBytes_AsString(made_whole), PyTuple_GetItem(given[0], 0));
    put_name(out, made.said + 2);
    out = put(out + NAME, PyTuple_GetItem(given[0], 1));
    out = put_tokens(out, &made, given[4], given[5]);
    for (Py_ssize_t i = 2; i < parts; i++)
        out = put(out, PyTuple_GetItem(given[0], i));
    return made_whole;
}

static PyMethodDef methods[] = {
    {"prepared", prepared, METH_VARARGS, NULL},
    {"spell", (PyCFunction)(void (*)(void))spell, METH_FASTCALL, NULL},
    {"named", (PyCFunction)(void (*)(void))named, METH_FASTCALL, NULL},
    {"name", name, METH_O, NULL},
    {"open", (PyCFunction)(void (*)(void))octets_open, METH_FASTCALL, NULL},
    {"bare", octets_bare, METH_O, NULL},
    {"told", (PyCFunction)(void (*)(void))octets_told, METH_FASTCALL, NULL},
    {"recorded", (PyCFunction)(void (*)(void))octets_recorded, METH_FASTCALL, NULL},
    {"booked", (PyCFunction)(void (*)(void))octets_booked, METH_FASTCALL, NULL},
    {"frame", (PyCFunction)(void (*)(void))octets_frame, METH_FASTCALL, NULL},
    {"is_plain", octets_is_plain, METH_O, NULL},
    {"touched", (PyCFunction)(void (*)(void))octets_touched, METH_FASTCALL, NULL},
    {0},
};

static int add_constants(PyObject *module)
{
    octets_prepare_frames();
    if (octets_prepare_touches() < 0)
        return -1;
    return PyModule_AddIntConstant(module, "CONTRACT", CONTRACT);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)add_constants}, {0, NULL}};

static struct PyModuleDef octets = {
    PyModuleDef_HEAD_INIT, .m_name = "_octets", .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__octets(void)
{
    return PyModuleDef_Init(&octets);
}
