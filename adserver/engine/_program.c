/* What begins with a request's values: a dimension narrowed to them, which is a program; and the mask that
 * several dimensions narrowed to what a request says have in common.
 *
 * Idea: what names.Names.row does, for all values at once, and of each the numbers of its postings; so there
 * is nothing to keep of a value, and what nobody targets costs one look.
 * Invariant: as in _kernel.c. Rows are found by bisection, so they are within the columns, which are of one
 * length; where a name lies is checked before it is read. What the numbers say is checked by who follows them.
 */

#include "_kernel.h"

#include <stdlib.h>

#define PARTS 3     /* the postings a value has: include, exclude, required */
#define NOBODY (-1) /* instead of a row: no line item names the value */
#define CORRUPT (-2)
#define FAR 0xFFFF  /* a distance between packed rows, and no row */
#define NEAR 64     /* rows: the first step away from where a hash should be */

typedef struct {
    const uint32_t *hashes;
    const uint64_t *ends;
    const char *text;
    const int64_t *postings;
    Py_ssize_t rows, text_size;
} Table;

typedef struct {
    const char *start;
    size_t size;
} Span;

static uint32_t crcs[256];

void kernel_prepare(void)
{
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int i = 0; i < 8; i++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
        crcs[n] = crc;
    }
}

/* As zlib's, so that Python has it too; ``crc`` is what it gave for what stands before. */
static uint32_t crc32(uint32_t crc, Span given)
{
    crc = ~crc;
    for (size_t i = 0; i < given.size; i++)
        crc = crc >> 8 ^ crcs[(crc ^ (unsigned char)given.start[i]) & 255];
    return ~crc;
}

/* Whether a row's name is before (-1), is (0) or is after (1) the two spans, one behind the other. */
static int order(const Table *table, int64_t row, const Span *wanted)
{
    uint64_t start = table->ends[row], end = table->ends[row + 1];
    if (start > end || end > (uint64_t)table->text_size)
        return kernel_corrupt("a name outside of the text"), CORRUPT;
    const char *name = table->text + start;
    size_t left = end - start;
    for (size_t i = 0; i < 2; i++) {
        size_t both = left < wanted[i].size ? left : wanted[i].size;
        int differs = both ? memcmp(name, wanted[i].start, both) : 0;
        if (differs)
            return differs < 0 ? -1 : 1;
        if (both < wanted[i].size)
            return -1;
        name += both;
        left -= both;
    }
    return left > 0;
}

/* The first row whose hash is not below ``least``, looked for from the row ``at`` in steps that double. */
static int64_t border(const Table *table, uint64_t least, int64_t at, int64_t step)
{
    int64_t low = at, high = at, rows = table->rows;
    for (; low > 0 && table->hashes[low - 1] >= least; step *= 2) {
        high = low - 1;
        low = low > step ? low - step : 0;
    }
    for (; high < rows && table->hashes[high] < least; step *= 2) {
        low = high + 1;
        high = rows - high > step ? high + step : rows;
    }
    /* Without a branch that nobody can foresee. */
    for (int64_t left = high - low; left > 0;) {
        int64_t half = (left + 1) / 2;
        low += table->hashes[low + half - 1] < least ? half : 0;
        left -= half;
    }
    return low;
}

/* Hashes are spread evenly, so a row is mostly near here. */
static int64_t guess(const Table *table, uint64_t hash)
{
    return (int64_t)((hash * (uint64_t)table->rows) >> 32);
}

/* Names of one hash, however many, are bisected. NOBODY or CORRUPT where there is none. */
static int64_t find(const Table *table, uint32_t hash, const Span *wanted)
{
    int64_t low = border(table, hash, guess(table, hash), NEAR);
    int64_t high = border(table, (uint64_t)hash + 1, low, 1);
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int found = order(table, middle, wanted);
        if (found == CORRUPT)
            return CORRUPT;
        if (found == 0)
            return middle;
        if (found < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NOBODY;
}

/* A text as UTF-8, which it keeps; -1 with an exception. */
static int spell(PyObject *text, Span *spelled)
{
    Py_ssize_t size;
    spelled->start = PyUnicode_AsUTF8AndSize(text, &size);
    spelled->size = (size_t)size;
    return spelled->start == NULL ? -1 : 0;
}

/* The rows of the values that are there; how many, or -1 with an exception. Where the rows should be is
 * called for before the first is looked at: memory answers many at once as fast as one. */
static Py_ssize_t find_all(const Table *table, Span dimension, PyObject *values, int64_t *rows)
{
    Py_ssize_t found = 0, count = PyTuple_Size(values);
    uint32_t before = crc32(0, dimension);
    for (Py_ssize_t i = 0; i < count; i++) {
        Span value;
        if (spell(PyTuple_GetItem(values, i), &value) < 0)
            return -1;
        rows[i] = crc32(before, value);
        __builtin_prefetch(table->hashes + guess(table, (uint64_t)rows[i]));
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Span wanted[2] = {dimension, {NULL, 0}};
        spell(PyTuple_GetItem(values, i), &wanted[1]);
        int64_t row = find(table, (uint32_t)rows[i], wanted);
        if (row == CORRUPT)
            return -1;
        if (row == NOBODY)
            continue;
        if (table->postings != NULL)
            __builtin_prefetch(table->postings + row * 2 * PARTS);
        rows[found++] = row;
    }
    return found;
}

/* The whole program into ``made``, which begins with its header; how many numbers. */
static Py_ssize_t assemble(const Table *table, const int64_t *rows, Py_ssize_t count, int64_t *made)
{
    static const size_t counted[PARTS] = {1, 2, 4}; /* where in the header */
    int64_t *next = made + HEADER;
    for (Py_ssize_t part = 0; part < PARTS; part++)
        for (Py_ssize_t i = 0; i < count; i++) {
            const int64_t *pair = table->postings + (rows[i] * PARTS + part) * 2;
            if (pair[0] == 0)
                continue;
            memcpy(next, pair, 2 * sizeof *pair);
            next += 2;
            made[counted[part]]++;
        }
    return next - made;
}

/* The program of a dimension narrowed to values, and its length; NULL with an exception. To be freed. */
static int64_t *narrowed(const Table *table, Span dimension, PyObject *values, const int64_t *header,
                         Py_ssize_t *length)
{
    Py_ssize_t most = PyTuple_Size(values), found;
    int64_t *made = PyMem_Calloc(HEADER + (size_t)most * (2 * PARTS + 1), sizeof *made);
    if (made == NULL)
        return (void)PyErr_NoMemory(), NULL;
    int64_t *rows = made + HEADER + most * 2 * PARTS;
    memcpy(made, header, HEADER * sizeof *made);
    if ((found = find_all(table, dimension, values, rows)) < 0)
        return PyMem_Free(made), NULL;
    *length = assemble(table, rows, found, made);
    return made;
}

/* Whether the columns are of one length, and of whole numbers; else 0 with an exception. */
static int is_table(const Py_buffer *hashes, const Py_buffer *ends, const Py_buffer *postings)
{
    Py_ssize_t rows = hashes->len / 4;
    if (!kernel_whole(hashes, 4) || !kernel_whole(ends, 8) || !kernel_whole(postings, 8))
        return 0;
    if (ends->len / 8 - 1 == rows && postings->len / (8 * 2 * PARTS) == rows)
        return 1;
    return kernel_corrupt("names, their ends and their postings are not as many"), 0;
}

/* _kernel.pyi says what it is. */
PyObject *kernel_program(PyObject *module, PyObject *arguments)
{
    Py_buffer hashes, ends, text, postings;
    PyObject *values, *bytes = NULL;
    Span dimension;
    long long wildcard, opened;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*sO!LL:program", &hashes, &ends, &text, &postings,
                          &dimension.start, &PyTuple_Type, &values, &wildcard, &opened))
        return NULL;
    dimension.size = strlen(dimension.start) + 1; /* with the NUL that is between it and the value */
    Table table = {hashes.buf, ends.buf, text.buf, postings.buf, hashes.len / 4, text.len};
    int64_t header[HEADER] = {wildcard, 0, 0, opened, 0}, *made = NULL;
    Py_ssize_t length;
    if (is_table(&hashes, &ends, &postings))
        made = narrowed(&table, dimension, values, header, &length);
    if (made != NULL)
        bytes = PyBytes_FromStringAndSize((const char *)made, length * (Py_ssize_t)sizeof *made);
    PyMem_Free(made);
    PyBuffer_Release(&hashes);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&text);
    PyBuffer_Release(&postings);
    return bytes;
}

/* Keep the bits that pass one dimension, ``told`` (name, wildcard, free), as ``facts`` say; -1 with an
 * exception. */
static int keep_passing(uint64_t *bits, const Index *index, const Table *table, PyObject *told,
                        PyObject *facts)
{
    static const char *const wrong = "dimensions are tuples of a name and two offsets";
    uint64_t passing[WORDS];
    Span name;
    long long wildcard, opened;
    PyObject *spelled, *values;
    Py_ssize_t length;
    if (!PyTuple_Check(told) || !PyArg_ParseTuple(told, "ULL", &spelled, &wildcard, &opened))
        return PyErr_Occurred() ? -1 : (PyErr_SetString(PyExc_TypeError, wrong), -1);
    if (spell(spelled, &name) < 0)
        return -1;
    name.size++; /* with the NUL that is between it and the value */
    int64_t header[HEADER] = {wildcard, 0, 0, opened, 0};
    if ((values = PyDict_GetItemWithError(facts, spelled)) == NULL) {
        if (PyErr_Occurred() || kernel_run(passing, index, header, HEADER) < 0)
            return -1;
    } else if (!PyTuple_Check(values)) {
        return PyErr_SetString(PyExc_TypeError, "facts are tuples of values"), -1;
    } else {
        int64_t *program = narrowed(table, name, values, header, &length);
        int ran = program == NULL ? -1 : kernel_run(passing, index, program, length);
        PyMem_Free(program);
        if (ran < 0)
            return -1;
    }
    for (size_t i = 0; i < WORDS; i++)
        bits[i] &= passing[i];
    return 0;
}

/* _kernel.pyi says what it is. */
PyObject *kernel_common(PyObject *module, PyObject *arguments)
{
    Py_buffer words, sparse, hashes, ends, text, postings;
    PyObject *dimensions, *facts;
    Py_ssize_t chunk;
    uint64_t bits[WORDS];
    int made = -1;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*y*y*O!O!n:common", &words, &sparse, &hashes, &ends, &text,
                          &postings, &PyTuple_Type, &dimensions, &PyDict_Type, &facts, &chunk))
        return NULL;
    Index index = {words.buf, sparse.buf, words.len / 8, sparse.len / 4, chunk};
    Table table = {hashes.buf, ends.buf, text.buf, postings.buf, hashes.len / 4, text.len};
    memset(bits, 0xff, sizeof bits);
    if (kernel_usable(&words, &sparse, chunk) && is_table(&hashes, &ends, &postings)) {
        made = 0;
        for (Py_ssize_t i = 0; made == 0 && i < PyTuple_Size(dimensions); i++)
            made = keep_passing(bits, &index, &table, PyTuple_GetItem(dimensions, i), facts);
    }
    PyBuffer_Release(&words);
    PyBuffer_Release(&sparse);
    PyBuffer_Release(&hashes);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&text);
    PyBuffer_Release(&postings);
    return made < 0 ? NULL : PyBytes_FromStringAndSize((const char *)bits, sizeof bits);
}

/* The rows of all values of ``facts``, counted from ``first``, into ``rows``, which has room for them; how
 * many, or -1. */
static Py_ssize_t find_facts(const Table *table, PyObject *facts, int64_t first, int64_t *rows)
{
    Py_ssize_t at = 0, count = 0, found;
    PyObject *spelled, *values;
    Span name;
    while (table->rows && PyDict_Next(facts, &at, &spelled, &values)) {
        if (spell(spelled, &name) < 0)
            return -1;
        name.size++; /* with the NUL that is between it and the value */
        if ((found = find_all(table, name, values, rows + count)) < 0)
            return -1;
        for (Py_ssize_t end = count + found; count < end; count++)
            rows[count] += first;
    }
    return count;
}

/* How many values there are in all; -1 with an exception where something is no tuple. */
static Py_ssize_t count_facts(PyObject *facts)
{
    Py_ssize_t at = 0, count = 0;
    PyObject *spelled, *values;
    while (PyDict_Next(facts, &at, &spelled, &values)) {
        if (!PyTuple_Check(values))
            return PyErr_SetString(PyExc_TypeError, "facts are tuples of values"), -1;
        count += PyTuple_Size(values);
    }
    return count;
}

static int ascending(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

/* Ascending rows as distances of two bytes (vocabulary.py), into ``packed``; how many numbers. */
static size_t distances(const int64_t *rows, Py_ssize_t count, uint16_t *packed)
{
    size_t made = 0;
    int64_t before = -1;
    for (Py_ssize_t i = 0; i < count; i++) {
        int64_t far = rows[i] - before;
        if (far == 0)
            continue;
        before = rows[i];
        for (; far >= FAR; far -= FAR)
            packed[made++] = FAR;
        packed[made++] = (uint16_t)far;
    }
    return made;
}

/* The packed rows of ``facts`` in two tables, one behind the other; NULL with an exception. */
static PyObject *packed(const Table tables[2], PyObject *facts)
{
    Py_ssize_t room = count_facts(facts), count, also;
    if (room < 0)
        return NULL;
    /* A value may be in both tables. Whatever the rows, all they are apart is less than all rows there are. */
    size_t rooms = 2 * (size_t)room, most = rooms + (size_t)(tables[0].rows + tables[1].rows) / FAR + 1;
    int64_t *rows = PyMem_Malloc(rooms * sizeof *rows + most * sizeof(uint16_t) + 1);
    PyObject *bytes = NULL;
    if (rows == NULL)
        return PyErr_NoMemory();
    uint16_t *made = (uint16_t *)(rows + rooms);
    if ((count = find_facts(&tables[0], facts, 0, rows)) >= 0 &&
        (also = find_facts(&tables[1], facts, tables[0].rows, rows + count)) >= 0) {
        qsort(rows, (size_t)(count + also), sizeof *rows, ascending);
        size_t length = distances(rows, count + also, made);
        bytes = PyBytes_FromStringAndSize((const char *)made, (Py_ssize_t)(length * sizeof *made));
    }
    PyMem_Free(rows);
    return bytes;
}

/* _kernel.pyi says what it is. */
PyObject *kernel_pack(PyObject *module, PyObject *arguments)
{
    Py_buffer hashes[2], ends[2], text[2];
    PyObject *facts, *bytes = NULL;
    Table tables[2];
    int usable = 1;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*y*y*O!:pack", &hashes[0], &ends[0], &text[0], &hashes[1],
                          &ends[1], &text[1], &PyDict_Type, &facts))
        return NULL;
    for (size_t i = 0; i < 2; i++) {
        tables[i] = (Table){hashes[i].buf, ends[i].buf, text[i].buf, NULL, hashes[i].len / 4, text[i].len};
        if (usable && (usable = kernel_whole(&hashes[i], 4) && kernel_whole(&ends[i], 8)) &&
            ends[i].len / 8 - 1 != tables[i].rows)
            usable = (kernel_corrupt("names and their ends are not as many"), 0);
    }
    if (usable)
        bytes = packed(tables, facts);
    for (size_t i = 0; i < 2; i++) {
        PyBuffer_Release(&hashes[i]);
        PyBuffer_Release(&ends[i]);
        PyBuffer_Release(&text[i]);
    }
    return bytes;
}
