/* Chance, compiled: what a request draws a dozen times. engine/draw.py has the same in Python. */

#include "_kernel.h"

/* The finaliser of SplitMix64 (Steele et al., OOPSLA 2014). */
static uint64_t mixed(uint64_t seed, uint64_t salt)
{
    uint64_t z = seed + (salt + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* _kernel.pyi says what they are. */
PyObject *kernel_mix(PyObject *module, PyObject *arguments)
{
    unsigned long long seed, salt;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "KK:mix", &seed, &salt))
        return NULL;
    return PyLong_FromUnsignedLongLong(mixed(seed, salt));
}

PyObject *kernel_below(PyObject *module, PyObject *arguments)
{
    unsigned long long seed, salt, n;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "KKK:below", &seed, &salt, &n))
        return NULL;
    return PyLong_FromUnsignedLongLong((uint64_t)((unsigned __int128)mixed(seed, salt) * n >> 64));
}
