"""What the server's own processes get of its environment: nothing that could be secret, unless
they have to do with a store."""

import os

#: What finds Python.
ENVIRONMENT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
#: Beginnings of names: what finds a bucket, and opens it.
FOR_STORES = ("HOME", "AWS_", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_")


#: numpy makes no threads: each process has a core to itself at best, and a thread that runs before
#: its process is shut in (`confine`) is not.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def environment(*, with_store: bool = False) -> dict[str, str]:
    """For a process that Python is to run."""
    return ONE_THREAD | {
        name: value
        for name, value in os.environ.items()
        if name in ENVIRONMENT or (with_store and name.startswith(FOR_STORES))
    }
