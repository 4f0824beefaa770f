"""`payrouter` and `python -m payrouter`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from payrouter.entrypoints.cli.app import run_cli  # noqa: PLC0415 - keeps `import payrouter.__main__` cheap

    run_cli()


if __name__ == "__main__":
    main()
