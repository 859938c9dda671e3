/* Frames in a row of a journal's segment, read for posting in one call. ledger/rows.py says what is told of them and
 * has the same in Python, which serves where this is not built and which the tests hold this against.
 *
 * Invariant: nothing is read behind the buffer's end, or told of a frame that is not whole, or whose personal part is
 * neither the one that was written nor erased.
 * Cost: some 0.6 us a frame, of which CRC and digest are most.
 */

#include "_octets.h"

#define HEAD 8
#define DIGEST 8
#define RECORD_MIN 2
#define LIST 5 /* the head of MessagePack's longest array */
#define NIL 0xc0
enum { DECIDED = 1, RELEASED = 3, MARK = 6, CLOSED = 11 };

typedef struct {
    const uint8_t *covered; /* what the chain covers, but for the lengths before it */
    const uint8_t *secret, *record;
    size_t chained, secret_size, record_size, end;
    int passed;
} Frame;

static int erased(const uint8_t *secret, size_t size)
{
    while (size)
        if (secret[--size])
            return 0;
    return 1;
}

static int sound(const Frame *frame)
{
    uint8_t digest[DIGEST];
    octets_digest(digest, DIGEST, frame->secret, frame->secret_size);
    return !memcmp(digest, frame->covered, DIGEST) || erased(frame->secret, frame->secret_size);
}

/* Where the parts of the frame at ``at`` are, whatever they hold. 0: it is none that ends before ``stop``. */
static int lay_out(Frame *frame, const uint8_t *raw, size_t at, size_t stop)
{
    uint32_t lengths;
    if (stop < at || stop - at < HEAD)
        return 0;
    memcpy(&lengths, raw + at + 4, 4);
    frame->chained = lengths & 0xFFFFF;
    frame->secret_size = lengths >> 24 | (lengths >> 12 & 0xF00);
    size_t digest = frame->secret_size ? DIGEST : 0;
    if (stop - at - HEAD < frame->secret_size + frame->chained || frame->chained < digest + RECORD_MIN)
        return 0;
    frame->secret = raw + at + HEAD;
    frame->covered = frame->secret + frame->secret_size;
    frame->record = frame->covered + digest;
    frame->record_size = frame->chained - digest;
    frame->end = at + HEAD + frame->secret_size + frame->chained;
    frame->passed = frame->record[1] == DECIDED || frame->record[1] == RELEASED;
    return 1;
}

/* Whether there is one that may be told of. */
static int read_frame(Frame *frame, const uint8_t *raw, size_t at, size_t stop, uint32_t seed)
{
    uint32_t crc;
    if (!lay_out(frame, raw, at, stop) || frame->record[1] == MARK || frame->record[1] == CLOSED)
        return 0;
    memcpy(&crc, raw + at, 4);
    seed = octets_checked(seed, raw + at + 4, 4);
    return octets_checked(seed, frame->covered, frame->chained) == crc && (!frame->secret_size || sound(frame));
}

static uint8_t *put(uint8_t *at, const void *octets, size_t size)
{
    memcpy(at, octets, size);
    return at + size;
}

static uint8_t *put_list(uint8_t *at, uint32_t count)
{
    *at = 0xdd;
    for (int i = 0; i < 4; i++)
        at[1 + i] = (uint8_t)(count >> (24 - 8 * i));
    return at + LIST;
}

static int is_told(const Frame *frame)
{
    return !frame->passed && frame->secret_size && !erased(frame->secret, frame->secret_size);
}

/* booked(raw, at, stop, most, seed): see _octets.pyi. */
PyObject *octets_booked(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    char *octets;
    Py_ssize_t size;
    unsigned long long said[4];
    (void)module;
    if (count != 5) {
        PyErr_SetString(PyExc_TypeError, "booked takes octets and four numbers");
        return NULL;
    }
    if (PyBytes_AsStringAndSize(given[0], &octets, &size) < 0)
        return NULL;
    for (int i = 0; i < 4; i++) {
        said[i] = PyLong_AsUnsignedLongLong(given[1 + i]);
        if (said[i] == (unsigned long long)-1 && PyErr_Occurred())
            return NULL;
    }
    const uint8_t *raw = (const uint8_t *)octets;
    size_t start = said[0], stop = said[1] < (size_t)size ? said[1] : (size_t)size, at = start;
    size_t covered = 0, records = LIST, people = LIST;
    uint32_t frames = 0, seed = (uint32_t)said[3];
    Frame frame;
    for (; frames < said[2] && read_frame(&frame, raw, at, stop, seed); frames++, at = frame.end) {
        covered += 4 + frame.chained;
        records += frame.passed ? 1 : frame.record_size;
        people += is_told(&frame) ? frame.secret_size : 1;
    }
    PyObject *all = Py_BuildValue(
        "NNNNN", PyBytes_FromStringAndSize(NULL, 4 * (Py_ssize_t)frames),
        PyBytes_FromStringAndSize(NULL, 4 * (Py_ssize_t)frames), PyBytes_FromStringAndSize(NULL, (Py_ssize_t)covered),
        PyBytes_FromStringAndSize(NULL, (Py_ssize_t)records), PyBytes_FromStringAndSize(NULL, (Py_ssize_t)people));
    if (!all)
        return NULL;
    uint8_t *out[5];
    for (int i = 0; i < 5; i++)
        out[i] = (uint8_t *)PyBytes_AsString(PyTuple_GetItem(all, i));
    const uint8_t *chain = out[2], nil = NIL;
    out[3] = put_list(out[3], frames);
    out[4] = put_list(out[4], frames);
    at = start;
    for (uint32_t n = 0; n < frames; n++, at = frame.end) {
        lay_out(&frame, raw, at, stop);
        out[2] = put(put(out[2], raw + at + 4, 4), frame.covered, frame.chained);
        uint32_t behind = (uint32_t)(frame.end - start);
        uint32_t hashed = (uint32_t)(out[2] - chain);
        out[0] = put(out[0], &behind, 4);
        out[1] = put(out[1], &hashed, 4);
        out[3] = frame.passed ? put(out[3], &nil, 1) : put(out[3], frame.record, frame.record_size);
        out[4] = is_told(&frame) ? put(out[4], frame.secret, frame.secret_size) : put(out[4], &nil, 1);
    }
    return all;
}
