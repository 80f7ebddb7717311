"""`python -m lorweb_bench`."""

from lorweb_bench.cli import main

if __name__ == "__main__":
    main()
