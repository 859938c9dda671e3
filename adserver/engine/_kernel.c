/* The index's inner loops, compiled: a selector's mask of a chunk, and the positions in a mask. Those
 * that begin with what a request says are in _program.c, those that draw in _draw.c.
 *
 * Idea: a chunk is 4096 positions, 64 words. A mask is united word by word where a posting is dense, bit by
 * bit where it is sparse. engine/index.py says what the numbers of a program mean and has the same in Python,
 * which serves where this is not built and which the tests hold this against.
 * Invariant: nothing is read outside the buffers given, whatever an image says. Offsets and counts are
 * checked before they are followed, positions as they are met.
 * Cost: some 15 ns for each bitmap, some 20 for each sparse posting and one for each of its positions.
 */

#include "_kernel.h"

#define CHUNK 4096
#define CHUNKS_MAX ((Py_ssize_t)(((uint64_t)UINT32_MAX + 1) / CHUNK)) /* positions have 32 bits */

/* Raised with every change of what the functions take or give: a build of another one is not used. */
#define CONTRACT 5
#define EVERYBODY (-1) /* instead of the word offset of wildcard or free */
#define DENSE (-1)     /* instead of the count of a posting */

/* -- a mask; -1 with an exception ----------------------------------------------------------------- */

static int add_dense(uint64_t *bits, const Index *index, int64_t offset)
{
    Py_ssize_t start = index->chunk * WORDS, needed = start + WORDS;
    if (offset < 0 || offset > index->words_count - needed)
        return kernel_corrupt("a bitmap outside of the words");
    for (size_t i = 0; i < WORDS; i++)
        bits[i] |= index->words[offset + start + (Py_ssize_t)i];
    return 0;
}

/* The first of ``count`` ascending positions that is not before ``least``. */
static int64_t seek(const uint32_t *positions, int64_t count, uint64_t least)
{
    int64_t low = 0;
    if (count > 0 && positions[0] >= least)
        return 0; /* as mostly in the chunks of the best rank */
    while (low < count) {
        int64_t middle = low + (count - low) / 2;
        if (positions[middle] < least)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

static int add_sparse(uint64_t *bits, const Index *index, int64_t count, int64_t offset)
{
    uint64_t base = (uint64_t)index->chunk * CHUNK;
    if (count < 0 || offset < 0 || offset > index->sparse_count - count)
        return kernel_corrupt("a posting outside of the positions");
    const uint32_t *positions = index->sparse + offset;
    for (int64_t i = seek(positions, count, base); i < count && positions[i] < base + CHUNK; i++) {
        uint64_t bit = positions[i] - base;
        if (bit >= CHUNK)
            return kernel_corrupt("positions that do not ascend");
        bits[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    return 0;
}

/* Where a posting begins; of one outside of what was given, anywhere, which is not read from. */
static const void *start(const Index *index, const int64_t *pair)
{
    uint64_t offset = (uint64_t)pair[1];
    if (pair[0] == DENSE)
        return (const void *)((uintptr_t)index->words + 8 * (offset + (uint64_t)index->chunk * WORDS));
    return (const void *)((uintptr_t)index->sparse + 4 * offset);
}

/* Add ``count`` postings, each of them (count, offset). All are called for before the first is read. */
static int add(uint64_t *bits, const Index *index, const int64_t *pairs, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        __builtin_prefetch(start(index, pairs + 2 * i));
    for (; count > 0; count--, pairs += 2)
        if ((pairs[0] == DENSE ? add_dense(bits, index, pairs[1])
                               : add_sparse(bits, index, pairs[0], pairs[1])) < 0)
            return -1;
    return 0;
}

/* Keep the bits of the bitmap at ``offset`` and of the postings. */
static int keep(uint64_t *bits, const Index *index, int64_t offset, const int64_t *pairs, int64_t count)
{
    uint64_t passing[WORDS] = {0};
    if (offset == EVERYBODY)
        return 0;
    if (add_dense(passing, index, offset) < 0 || add(passing, index, pairs, count) < 0)
        return -1;
    for (size_t i = 0; i < WORDS; i++)
        bits[i] &= passing[i];
    return 0;
}

static int drop(uint64_t *bits, const Index *index, const int64_t *pairs, int64_t count)
{
    uint64_t failing[WORDS] = {0};
    if (add(failing, index, pairs, count) < 0)
        return -1;
    for (size_t i = 0; i < WORDS; i++)
        bits[i] &= ~failing[i];
    return 0;
}

int kernel_run(uint64_t *bits, const Index *index, const int64_t *program, Py_ssize_t length)
{
    const int64_t *pairs = program + HEADER;
    int64_t left = (length - HEADER) / 2;
    if (length < HEADER)
        return kernel_corrupt("a program that is cut short");
    int64_t includes = program[1], excludes = program[2], required = program[4];
    if (includes < 0 || excludes < 0 || required < 0 || includes > left || excludes > left - includes ||
        required > left - includes - excludes)
        return kernel_corrupt("a program with more postings than it has");
    memset(bits, 0xff, WORDS * sizeof *bits);
    if (keep(bits, index, program[0], pairs, includes) < 0)
        return -1;
    if (excludes && drop(bits, index, pairs + 2 * includes, excludes) < 0)
        return -1;
    return keep(bits, index, program[3], pairs + 2 * (includes + excludes), required);
}

int kernel_corrupt(const char *what)
{
    PyErr_Format(PyExc_ValueError, "corrupt index: %s", what);
    return -1;
}

int kernel_whole(const Py_buffer *view, Py_ssize_t size)
{
    if (view->len == 0 || (view->len % size == 0 && (uintptr_t)view->buf % (uintptr_t)size == 0))
        return 1;
    PyErr_SetString(PyExc_ValueError, "a buffer that is not of whole, aligned numbers");
    return 0;
}

int kernel_usable(const Py_buffer *words, const Py_buffer *sparse, Py_ssize_t chunk)
{
    if (chunk >= 0 && chunk < CHUNKS_MAX)
        return kernel_whole(words, 8) && kernel_whole(sparse, 4);
    PyErr_SetString(PyExc_ValueError, "a chunk that no position has");
    return 0;
}

/* -- Python's side; _kernel.pyi says what it is --------------------------------------------------- */

static PyObject *mask(PyObject *module, PyObject *arguments)
{
    Py_buffer words, sparse, program;
    Py_ssize_t chunk;
    uint64_t bits[WORDS];
    int made = -1;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*n:mask", &words, &sparse, &program, &chunk))
        return NULL;
    Index index = {words.buf, sparse.buf, words.len / 8, sparse.len / 4, chunk};
    if (kernel_usable(&words, &sparse, chunk) && kernel_whole(&program, 8))
        made = kernel_run(bits, &index, program.buf, program.len / 8);
    PyBuffer_Release(&words);
    PyBuffer_Release(&sparse);
    PyBuffer_Release(&program);
    return made < 0 ? NULL : PyBytes_FromStringAndSize((const char *)bits, sizeof bits);
}

static PyObject *positions(PyObject *module, PyObject *arguments)
{
    Py_buffer view;
    Py_ssize_t first, count = 0;
    uint64_t bits[WORDS];
    uint32_t found[CHUNK];
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*n:positions", &view, &first))
        return NULL;
    int usable = view.len == sizeof bits && first >= 0 && first <= (CHUNKS_MAX - 1) * CHUNK;
    if (usable)
        memcpy(bits, view.buf, sizeof bits);
    PyBuffer_Release(&view);
    if (!usable) {
        PyErr_SetString(PyExc_ValueError, "not the bits of a chunk, or of no position");
        return NULL;
    }
    for (uint32_t i = 0; i < WORDS; i++)
        for (; bits[i]; bits[i] &= bits[i] - 1)
            found[count++] = (uint32_t)first + i * 64 + (uint32_t)__builtin_ctzll(bits[i]);
    return PyBytes_FromStringAndSize((const char *)found, count * (Py_ssize_t)sizeof *found);
}

static PyMethodDef methods[] = {
    {"mask", mask, METH_VARARGS, NULL},
    {"program", kernel_program, METH_VARARGS, NULL},
    {"common", kernel_common, METH_VARARGS, NULL},
    {"pack", kernel_pack, METH_VARARGS, NULL},
    {"mix", kernel_mix, METH_VARARGS, NULL},
    {"below", kernel_below, METH_VARARGS, NULL},
    {"positions", positions, METH_VARARGS, NULL},
    {0},
};

static int add_constants(PyObject *module)
{
    kernel_prepare();
    return PyModule_AddIntConstant(module, "CONTRACT", CONTRACT);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)add_constants}, {0, NULL}};

static struct PyModuleDef kernel = {
    PyModuleDef_HEAD_INIT, .m_name = "_kernel", .m_methods = methods, .m_slots = slots,
};

PyMODINIT_FUNC PyInit__kernel(void)
{
    return PyModuleDef_Init(&kernel);
}
