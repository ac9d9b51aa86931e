"""`python -m spherical_vae.experiments`: says where the tables and figures of the paper are."""

import sys

if __name__ == "__main__":
    print(
        "error: spherical_vae.experiments: moved; in a clone: python -m paper NAME", file=sys.stderr
    )
    sys.exit(2)
