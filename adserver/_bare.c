/* Whether the bytes received are one whole request of the plainest kind: GET, without a query and a body, and
 * nothing in its head that needs thought.
 *
 * Idea: one pass. Whatever is not plain (another method, a header that says how to read on, an odd byte, half
 * a request or two) is left to the parser, which knows all of HTTP: so this may say no to anything.
 * Invariant: what is told is what the parser and api/framing.py would tell, and the connection stays open
 * behind it; nothing is read outside of the bytes, whatever they hold.
 * Cost: some 0.6 us, against 6 for the parser and its calls of Python. A plain impression is read, its token
 * opened and its head thrown away in one call (``told``): 1.5 us.
 */

#include "_octets.h"

#define BYTES 8192
#define NAME 64

static const char begin[] = "GET /", end[] = " HTTP/1.1\r\n";

/* Names of headers that say how to read on, or whether. */
static const char *const telling[] = {
    "content-length", "transfer-encoding", "expect", "upgrade", "proxy-connection",
};

/* Is told of each header: 1: go on, 0: this is not plain, -1: an exception. */
typedef int (*Keep)(void *to, const char *name, size_t size, const char *value, size_t length);

typedef struct {
    const char *at, *end;
    int hosts;
    Keep keep;
    void *to;
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

/* ``to``: a list of pairs. */
static int listed(void *to, const char *name, size_t size, const char *value, size_t length)
{
    PyObject *pair = Py_BuildValue("y#y#", name, (Py_ssize_t)size, value, (Py_ssize_t)length);
    int kept = pair ? PyList_Append(to, pair) : -1;
    Py_XDECREF(pair);
    return kept < 0 ? -1 : 1;
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
    return lines->keep(lines->to, name, size, value, length);
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

/* 1: a plain request, of the path that is told; 0: it is not; -1: an exception. */
static int plain(const char *octets, size_t size, const char **path, size_t *length, Keep keep, void *to)
{
    const char *last = octets + size, *behind;
    *path = octets + sizeof begin - 2;
    if (size > BYTES || size < sizeof begin || memcmp(octets, begin, sizeof begin - 1)
        || memcmp(last - 2, "\r\n", 2) || !(behind = path_end(*path, last)))
        return 0;
    *length = (size_t)(behind - *path);
    /* The last two bytes end the head: no line may use them up. */
    Lines lines = {behind + sizeof end - 1, last - 2, 0, keep, to};
    int good = 1;
    while (good > 0 && lines.at < lines.end)
        good = line(&lines);
    return good > 0 ? lines.at == lines.end && lines.hosts == 1 : good;
}

/* bare(received): see _octets.pyi. */
PyObject *octets_bare(PyObject *module, PyObject *received)
{
    char *octets;
    const char *path;
    Py_ssize_t size;
    size_t length;
    PyObject *headers, *first;
    (void)module;
    if (PyBytes_AsStringAndSize(received, &octets, &size) < 0 || !(headers = PyList_New(0)))
        return NULL;
    int good = plain(octets, (size_t)size, &path, &length, listed, headers);
    if (good > 0 && (first = first_of(headers)))
        return Py_BuildValue("s#NN", path, (Py_ssize_t)length, headers, first);
    Py_DECREF(headers);
    if (good)
        return NULL;
    Py_RETURN_NONE;
}

/* -- an impression ----------------------------------------------------------------------------------- */

#define AGENT 512

/* Names of headers that say who tells, or whether anybody looks. */
static const char *const thoughtful[] = {"authorization", "sec-purpose", "purpose", "x-purpose", "x-moz"};

typedef struct {
    const char *agent, *forwarded;
    size_t agent_size, forwarded_size;
} Said;

/* ``to``: a Said. The first agent counts; of several addresses the parser makes one. */
static int heard(void *to, const char *name, size_t size, const char *value, size_t length)
{
    Said *said = to;
    for (size_t i = 0; i < sizeof thoughtful / sizeof *thoughtful; i++)
        if (same_text(name, size, thoughtful[i]))
            return 0;
    if (same_text(name, size, "user-agent") && !said->agent) {
        said->agent = value;
        said->agent_size = length;
        return length <= AGENT;
    }
    if (same_text(name, size, "x-forwarded-for")) {
        if (said->forwarded)
            return 0;
        said->forwarded = value;
        said->forwarded_size = length;
    }
    return 1;
}

/* told(received, macs, pad): see _octets.pyi. */
PyObject *octets_told(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    static const char begins[] = "/i/";
    char *octets;
    const char *path;
    Py_ssize_t size;
    size_t length;
    Said said = {0};
    (void)module;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "told takes bytes, a tuple of 16 and a pad");
        return NULL;
    }
    if (PyBytes_AsStringAndSize(given[0], &octets, &size) < 0)
        return NULL;
    if (plain(octets, (size_t)size, &path, &length, heard, &said) <= 0 || length < sizeof begins
        || memcmp(path, begins, sizeof begins - 1))
        Py_RETURN_NONE;
    uint8_t body[OCTETS_BODY];
    const size_t skipped = sizeof begins - 1;
    int found = octets_opened(body, path + skipped, length - skipped, 1, given[1]);
    if (found == OCTETS_FAILED)
        return NULL;
    if (found < 0)
        Py_RETURN_NONE;
    char agent[AGENT + 1];
    memcpy(agent, said.agent ? said.agent : "", said.agent_size);
    agent[said.agent_size] = 0;
    return octets_told_of(body, given[2], agent, said.forwarded, said.forwarded_size);
}
