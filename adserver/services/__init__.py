"""The use cases, a file each, and the protocols (``ports``) that state, ledger and catalog implement."""
