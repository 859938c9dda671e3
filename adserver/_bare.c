/* Whether the bytes received are one whole request of the plainest kind: GET, without a query and a body, and
 * nothing in its head that needs thought.
 *
 * Idea: one pass. Whatever is not plain (another method, a header that says how to read on, an odd byte, half
 * a request or two) is left to the parser, which knows all of HTTP: so this may say no to anything.
 * Invariant: what is told is what the parser and api/framing.py would tell, and the connection stays open
 * behind it; nothing is read outside of the bytes, whatever they hold.
 * Cost: some 0.6 us, against 6 for the parser and its calls of Python.
 */

#include "_octets.h"

#define BYTES 8192
#define NAME 64

static const char begin[] = "GET /", end[] = " HTTP/1.1\r\n";

/* Names of headers that say how to read on, or whether. */
static const char *const telling[] = {
    "content-length", "transfer-encoding", "expect", "upgrade", "proxy-connection",
};

typedef struct {
    const char *at, *end;
    int hosts;
    PyObject *headers; /* a list of pairs */
} Lines;

static char lowered(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static int is_named(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static int same_text(const char *found, size_t size, const char *text)
{
    if (size != strlen(text))
        return 0;
    for (size_t i = 0; i < size; i++)
        if (lowered(found[i]) != text[i])
            return 0;
    return 1;
}

/* Of a header: whether the reading goes on as always. */
static int is_silent(Lines *lines, const char *name, size_t size, const char *value, size_t length)
{
    for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
        if (same_text(name, size, telling[i]))
            return 0;
    if (same_text(name, size, "connection"))
        return same_text(value, length, "keep-alive");
    return !same_text(name, size, "host") || !lines->hosts++;
}

static int keep(PyObject *headers, const char *name, size_t size, const char *value, size_t length)
{
    PyObject *pair = Py_BuildValue("y#y#", name, (Py_ssize_t)size, value, (Py_ssize_t)length);
    int kept = pair ? PyList_Append(headers, pair) : -1;
    Py_XDECREF(pair);
    return kept;
}

/* One "Name: value\r\n", value not empty and without blanks around it: 1; 0 where it is no such line; -1 with
 * an exception. */
static int line(Lines *lines)
{
    char name[NAME];
    size_t size = 0;
    const char *at = lines->at;
    while (at < lines->end && size < NAME && is_named(lowered(*at)))
        name[size++] = lowered(*at++);
    if (!size || lines->end - at < 5 || at[0] != ':' || at[1] != ' ')
        return 0;
    const char *value = at += 2;
    while (at < lines->end && *at >= ' ' && *at <= '~')
        at++;
    if (lines->end - at < 2 || at == value || at[0] != '\r' || at[1] != '\n' || *value == ' ' || at[-1] == ' ')
        return 0;
    size_t length = (size_t)(at - value);
    if (!is_silent(lines, name, size, value, length))
        return 0;
    lines->at = at + 2;
    return keep(lines->headers, name, size, value, length) < 0 ? -1 : 1;
}

/* By name, the first of each. */
static PyObject *first_of(PyObject *headers)
{
    PyObject *first = PyDict_New();
    for (Py_ssize_t i = PyList_Size(headers); first && i--;) {
        PyObject *pair = PyList_GetItem(headers, i);
        if (PyDict_SetItem(first, PyTuple_GetItem(pair, 0), PyTuple_GetItem(pair, 1)) < 0)
            Py_CLEAR(first);
    }
    return first;
}

/* The end of the path, or NULL: printable, without a query or a fragment. */
static const char *path_end(const char *at, const char *last)
{
    while (at < last && *at > ' ' && *at <= '~' && *at != '?' && *at != '#')
        at++;
    return (size_t)(last - at) < sizeof end - 1 || memcmp(at, end, sizeof end - 1) ? NULL : at;
}

/* bare(received): see _octets.pyi. */
PyObject *octets_bare(PyObject *module, PyObject *received)
{
    char *octets;
    Py_ssize_t size;
    (void)module;
    if (PyBytes_AsStringAndSize(received, &octets, &size) < 0)
        return NULL;
    const char *path = octets + sizeof begin - 2, *last = octets + size, *behind;
    if (size > BYTES || size < (Py_ssize_t)sizeof begin || memcmp(octets, begin, sizeof begin - 1)
        || memcmp(last - 2, "\r\n", 2) || !(behind = path_end(path, last)))
        Py_RETURN_NONE;
    /* The last two bytes end the head: no line may use them up. */
    Lines lines = {behind + sizeof end - 1, last - 2, 0, PyList_New(0)};
    int good = lines.headers ? 1 : -1;
    while (good > 0 && lines.at < lines.end)
        good = line(&lines);
    PyObject *found = NULL, *first;
    if (good > 0 && lines.at == lines.end && lines.hosts == 1) {
        if ((first = first_of(lines.headers)))
            found = Py_BuildValue("s#NN", path, (Py_ssize_t)(behind - path), lines.headers, first);
        else
            Py_DECREF(lines.headers);
        return found;
    }
    Py_XDECREF(lines.headers);
    if (good < 0)
        return NULL;
    Py_RETURN_NONE;
}
