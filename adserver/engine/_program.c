/* The kernel's third function: a dimension narrowed to a request's values, which is a program.
 *
 * Idea: what names.Names.row does, for all values at once, and of each the numbers of its postings; so there
 * is nothing to keep of a value, and what nobody targets costs one look.
 * Invariant: as in _kernel.c. Rows are found by bisection, so they are within the columns, which are of one
 * length; where a name lies is checked before it is read. What the numbers say is checked by who follows them.
 */

#include "_kernel.h"

#define PARTS 3     /* the postings a value has: include, exclude, required */
#define NOBODY (-1) /* instead of a row: no line item names the value */
#define CORRUPT (-2)

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

/* As zlib's, so that Python has it too; ``crc`` is what it gave for what stands before. */
static uint32_t crc32(uint32_t crc, Span given)
{
    static const uint32_t nibbles[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    crc = ~crc;
    for (size_t i = 0; i < given.size; i++) {
        crc ^= (unsigned char)given.start[i];
        crc = crc >> 4 ^ nibbles[crc & 15];
        crc = crc >> 4 ^ nibbles[crc & 15];
    }
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

/* By bisection over (hash, name): however many names have one hash. NOBODY or CORRUPT where there is none. */
static int64_t find(const Table *table, uint32_t hash, const Span *wanted)
{
    int64_t low = 0, high = table->rows;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        uint32_t met = table->hashes[middle];
        int found = met < hash ? -1 : met > hash ? 1 : order(table, middle, wanted);
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

/* The rows of the values that are there; how many, or -1 with an exception. */
static Py_ssize_t find_all(const Table *table, Span dimension, PyObject *values, int64_t *rows)
{
    Py_ssize_t found = 0, count = PyTuple_Size(values);
    uint32_t before = crc32(0, dimension);
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t size;
        const char *value = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(values, i), &size);
        if (value == NULL)
            return -1;
        Span wanted[2] = {dimension, {value, (size_t)size}};
        int64_t row = find(table, crc32(before, wanted[1]), wanted);
        if (row == CORRUPT)
            return -1;
        if (row != NOBODY)
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

static PyObject *narrow(const Table *table, Span dimension, PyObject *values, const int64_t *header)
{
    Py_ssize_t most = PyTuple_Size(values), found;
    int64_t *made = PyMem_Calloc(HEADER + (size_t)most * (2 * PARTS + 1), sizeof *made);
    PyObject *bytes = NULL;
    if (made == NULL)
        return PyErr_NoMemory();
    int64_t *rows = made + HEADER + most * 2 * PARTS;
    memcpy(made, header, HEADER * sizeof *made);
    if ((found = find_all(table, dimension, values, rows)) >= 0)
        bytes = PyBytes_FromStringAndSize(
            (const char *)made, assemble(table, rows, found, made) * (Py_ssize_t)sizeof *made);
    PyMem_Free(made);
    return bytes;
}

/* _kernel.pyi says what it is. */
PyObject *kernel_program(PyObject *module, PyObject *arguments)
{
    Py_buffer hashes, ends, text, postings;
    PyObject *values, *made = NULL;
    Span dimension;
    long long wildcard, opened;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*y*sO!LL:program", &hashes, &ends, &text, &postings,
                          &dimension.start, &PyTuple_Type, &values, &wildcard, &opened))
        return NULL;
    dimension.size = strlen(dimension.start) + 1; /* with the NUL that is between it and the value */
    Table table = {hashes.buf, ends.buf, text.buf, postings.buf, hashes.len / 4, text.len};
    int64_t header[HEADER] = {wildcard, 0, 0, opened, 0};
    if (!kernel_whole(&hashes, 4) || !kernel_whole(&ends, 8) || !kernel_whole(&postings, 8))
        made = NULL;
    else if (ends.len / 8 - 1 != table.rows || postings.len / (8 * 2 * PARTS) != table.rows)
        kernel_corrupt("names, their ends and their postings are not as many");
    else
        made = narrow(&table, dimension, values, header);
    PyBuffer_Release(&hashes);
    PyBuffer_Release(&ends);
    PyBuffer_Release(&text);
    PyBuffer_Release(&postings);
    return made;
}
