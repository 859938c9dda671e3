"""What pyproject.toml cannot say yet: what is compiled, which may be left out."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "adserver.engine._kernel",
            ["adserver/engine/_kernel.c", "adserver/engine/_program.c", "adserver/engine/_draw.c"],
            depends=["adserver/engine/_kernel.h"],
            # Without a compiler the index walks in Python.
            optional=True,
            # One build for every Python from 3.11 on.
            py_limited_api=True,
        ),
        Extension(
            "adserver._octets",
            [
                f"adserver/{name}.c"
                for name in (
                    "_octets",
                    "_open",
                    "_plain",
                    "_bare",
                    "_frame",
                    "_recorded",
                    "_booked",
                    "_touched",
                )
            ],
            depends=["adserver/_octets.h"],
            # Without a compiler tokens, frames and bodies are for Python, and every request for the parser.
            optional=True,
            py_limited_api=True,
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
