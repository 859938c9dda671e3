"""What pyproject.toml cannot say yet: the compiled kernel, which may be left out."""

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
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
